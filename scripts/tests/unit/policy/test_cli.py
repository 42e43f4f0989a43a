"""``pgdr policy``: what a person and a program see."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgdr.cli.main import main
from pgdr.policy import policy_schema

Spoiled = Callable[[Mapping[str, Any]], dict[str, Any]]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, spoiled: Spoiled, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``pgdr policy COMMAND`` on the sound policy with some values changed."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *options: str, changes: Mapping[str, Any] | None = None) -> tuple[int, str, str]:
        text = yaml.safe_dump({"recovery_policy": spoiled(changes or {})})
        Path("policy.yml").write_text(text, encoding="utf-8")
        status = main(["policy", command, "policy.yml", *options])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_a_sound_policy_passes(run: Run) -> None:
    assert run("check") == (0, "policy.yml: sound, 0 errors, 0 warnings\n", "")


def test_warnings_are_shown_and_pass(run: Run) -> None:
    status, out, _ = run("check", changes={"schedule.full": "0 4 * * *"})
    assert status == 0
    assert out.startswith("warning  recovery_policy.schedule.incremental: 0 */4 * * * starts in the same minute")
    assert out.endswith("policy.yml: sound, 0 errors, 1 warning\n")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"wal.lag_alert": "20m"}, "error    recovery_policy.wal.lag_alert: 20m would alert when objectives.rpo 15m"),
        ({"objectives.rp": "1m"}, "error    recovery_policy.objectives.rp: unknown key; did you mean 'rpo'?"),
    ],
)
def test_a_policy_that_cannot_be_used_ends_with_3(run: Run, changes: dict[str, Any], line: str) -> None:
    status, out, _ = run("check", changes=changes)
    assert status == 3
    assert out.startswith(line)
    assert out.endswith("policy.yml: cannot be used, 1 error, 0 warnings\n")


def test_findings_for_a_program(run: Run) -> None:
    status, out, _ = run("check", "--output", "json", changes={"schemas": ["a", "a"]})
    assert status == 3
    assert json.loads(out) == {
        "policy": "policy.yml",
        "valid": False,
        "findings": [
            {
                "severity": "error",
                "path": "recovery_policy.schemas",
                "message": "'a' stands twice",
                "remedy": "remove one",
            }
        ],
    }
    assert json.loads(run("check", "--output", "json")[1])["valid"] is True


def test_a_missing_file_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "/nonexistent/policy.yml"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pgdr: error: no policy at /nonexistent/policy.yml (")
    assert captured.err.count("\n") == 1


def test_the_schema_is_of_a_file_that_holds_only_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == policy_schema()
    assert (schema["required"], schema["additionalProperties"]) == (["recovery_policy"], False)


def test_what_was_left_out_is_shown(run: Run) -> None:
    status, out, _ = run("show")
    shown = yaml.safe_load(out)["recovery_policy"]
    assert status == 0
    assert shown["wal"]["keep_size"] == "1GiB"
    assert shown["cluster"]["port"] == 5432
    assert json.loads(run("show", "--output", "json")[1])["recovery_policy"] == shown


def test_what_follows_is_shown(run: Run) -> None:
    status, out, _ = run("derive", "--output", "json")
    assert status == 0
    assert json.loads(out)["pgbackrest"]["stanza"] == "erp"
    assert yaml.safe_load(run("derive")[1]) == json.loads(out)


def test_nothing_follows_from_a_policy_that_cannot_keep_its_promises(run: Run) -> None:
    status, out, err = run("derive", changes={"repositories.1.cipher": "none", "schemas": ["a", "a"]})
    assert (status, out) == (3, "")
    assert err == (
        "pgdr: error: policy.yml: recovery_policy.repositories[1].cipher: backups of production would be stored in "
        "the clear (write aes-256-cbc); recovery_policy.schemas: 'a' stands twice (remove one)\n"
    )


@pytest.mark.parametrize("command", ["check", "schema", "show", "derive"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", command, "--help"]) == 0
    assert f"pgdr policy {command}" in capsys.readouterr().out.split("Example:")[1]
