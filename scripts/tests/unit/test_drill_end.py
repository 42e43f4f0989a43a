"""The callback that has a failed drill written down; what it does with a real play is in scenario siteloss."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_PGDR = ["runuser", "--user=postgres", "--", "/usr/local/bin/pgdr"]
_FILE = Path(__file__).parents[3] / "playbooks/callback_plugins/drill_end.py"


def _result(name: str, host: str, delegate_to: str = "", **result: Any) -> SimpleNamespace:
    task = SimpleNamespace(delegate_to=delegate_to or None, get_name=lambda include_role_fqcn: name)
    return SimpleNamespace(result=result, task=task, host=SimpleNamespace(get_name=lambda: host))


def _begun() -> SimpleNamespace:
    return _result("begin", "localhost", "db1", cmd=[*_PGDR, "drill", "begin", "march", "--host=dr1"])


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was run."""
    found: list[list[str]] = []

    def run(argv: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        found.append(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return found


@pytest.fixture
def callback(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("drill_end", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.context, "CLIARGS", {"inventory": ["/inv"], "vault_password_files": ["/pass"]})
    return module.CallbackModule()


def _ends(callback: Any, failures: dict[str, int]) -> None:
    callback.v2_playbook_on_stats(SimpleNamespace(failures=failures, dark={}))


def test_the_last_failure_is_the_reason_and_no_template(callback: Any, ran: list[list[str]]) -> None:
    callback.v2_runner_on_ok(_begun())
    callback.v2_runner_on_failed(_result("look", "dr1", msg="not there"), ignore_errors=True)
    callback.v2_runner_on_failed(_result("restore : plan", "dr1", msg="two\nlines {{ lookup('pipe', 'id') }}."))
    _ends(callback, {"dr1": 1})
    [argv] = ran
    assert argv[1] == "db1"
    assert {"--inventory=/inv", "--vault-password-file=/pass", "--become"} <= set(argv)
    [given] = [json.loads(one.removeprefix("--args=")) for one in argv if one.startswith("--args=")]
    reason = "--reason=restore : plan on dr1: two lines (( lookup('pipe', 'id') ))"
    assert given == {"argv": [*_PGDR, "drill", "fail", "march", reason], "chdir": "/"}


def test_a_drill_that_was_judged_and_another_play_are_left_alone(callback: Any, ran: list[list[str]]) -> None:
    callback.v2_runner_on_ok(_result("make", "localhost", cmd=["make", "drill"]))
    callback.v2_runner_on_failed(_result("x", "db1", msg="x"))
    _ends(callback, {"db1": 1})
    callback.v2_runner_on_ok(_begun())
    _ends(callback, {})
    # Judged on the drill's own host first: not yet in the journal that knows of its beginning.
    callback.v2_runner_on_ok(_result("judge", "dr1", cmd=[*_PGDR, "drill", "record", "-"]))
    callback.v2_runner_on_failed(_result("fail", "dr1", msg="missed"))
    assert ran == []
    callback.v2_runner_on_ok(_result("keep", "dr1", "db1", cmd=[*_PGDR, "drill", "record", "-"]))
    _ends(callback, {"dr1": 1})
    assert ran == []
