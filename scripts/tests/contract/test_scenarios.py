"""Molecule calls testinfra successful when it finds no test. These tests do not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SCENARIOS = sorted(path.parent for path in ROOT.glob("molecule/*/molecule.yml"))
CHECK_FIRST = ["check", "converge", "idempotence"]

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=[folder.name for folder in SCENARIOS])


def _tests_in(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]


def test_there_is_a_scenario() -> None:
    assert "protect" in [folder.name for folder in SCENARIOS]


def test_the_verifier_is_named_once_for_all_scenarios() -> None:
    base = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text(encoding="utf-8"))
    assert base["verifier"]["name"] == "testinfra"


@each_scenario
def test_a_scenario_keeps_the_verifier(scenario: Path) -> None:
    content = yaml.safe_load((scenario / "molecule.yml").read_text(encoding="utf-8")) or {}
    assert content.get("verifier", {}).get("name", "testinfra") == "testinfra"


@each_scenario
def test_a_scenario_has_tests_that_molecule_collects(scenario: Path) -> None:
    collected = [name for path in (scenario / "tests").glob("test_*.py") for name in _tests_in(path)]
    assert len(collected) >= 3, f"molecule/{scenario.name}/tests holds {len(collected)} tests"


@each_scenario
def test_no_test_hides_in_a_file_that_is_not_collected(scenario: Path) -> None:
    hidden = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in scenario.rglob("*.py")
        if not path.name.startswith("test_")
        for name in _tests_in(path)
    ]
    assert hidden == []


@each_scenario
def test_a_scenario_that_converges_twice_previews_first(scenario: Path) -> None:
    content = yaml.safe_load((scenario / "molecule.yml").read_text(encoding="utf-8")) or {}
    sequence = content.get("scenario", {}).get("test_sequence", [])
    if "idempotence" in sequence:
        found = [step for step in sequence if step in CHECK_FIRST]
        assert found[: len(CHECK_FIRST)] == CHECK_FIRST


def test_no_python_test_hides_from_pytest() -> None:
    folders = [ROOT / "scripts" / "tests", *ROOT.glob("molecule/resources/*/tests")]
    hidden = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in folders
        for path in folder.rglob("*.py")
        if not path.name.startswith("test_")
        for name in _tests_in(path)
        if name.startswith("test_")
    ]
    assert hidden == []
