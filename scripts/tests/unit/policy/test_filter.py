"""The Ansible filter: the same door as the command, with Ansible's own kind of error."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pgdr.policy import Policy, derive

Spoiled = Callable[[Mapping[str, Any]], dict[str, Any]]
Changed = Callable[[Mapping[str, Any]], Policy]
PLUGIN = Path(__file__).parents[4] / "playbooks" / "filter_plugins" / "pgdr.py"


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    """The plugin as Ansible loads it: by its path."""
    spec = importlib.util.spec_from_file_location("pgdr_filters", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pgdr_derive(plugin: ModuleType) -> Callable[..., dict[str, Any]]:
    """The filter."""
    found: Callable[..., dict[str, Any]] = plugin.FilterModule().filters()["pgdr_derive"]
    return found


def test_the_filter_gives_what_the_command_gives(
    pgdr_derive: Callable[..., dict[str, Any]], document: dict[str, Any], changed: Changed
) -> None:
    assert pgdr_derive(document) == derive(changed({}))


def test_an_unknown_key_is_one_line(
    pgdr_derive: Callable[..., dict[str, Any]], plugin: ModuleType, spoiled: Spoiled
) -> None:
    with pytest.raises(plugin.AnsibleFilterError) as refused:
        pgdr_derive(spoiled({"objectives.rp": "1m", "typo": 1}))
    assert "recovery_policy.objectives.rp: unknown key; did you mean 'rpo'?; recovery_policy.typo:" in str(
        refused.value
    )
    assert "\n" not in str(refused.value)


def test_a_broken_promise_stops_a_play_but_not_a_restore(
    pgdr_derive: Callable[..., dict[str, Any]], plugin: ModuleType, spoiled: Spoiled
) -> None:
    document = spoiled({"repositories.0.retention.full": "90d"})
    with pytest.raises(plugin.AnsibleFilterError, match=r"repositories\[0\]\.retention\.full: erased data lives on"):
        pgdr_derive(document)
    assert pgdr_derive(document, enforce=False)["pgbackrest"]["stanza"] == "erp"


def test_a_restore_is_stopped_by_what_is_no_policy(
    pgdr_derive: Callable[..., dict[str, Any]], plugin: ModuleType, spoiled: Spoiled
) -> None:
    with pytest.raises(plugin.AnsibleFilterError, match="unknown key"):
        pgdr_derive(spoiled({"typo": 1}), enforce=False)
