"""The command line as scripts see it: exit codes, one line of error, JSON that parses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pgdr.cli import main as entry
from pgdr.cli.main import COMMANDS, main
from pgdr.errors import ExitCode
from pgdr.journal import Journal

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster


@pytest.fixture
def config(pg16: Cluster, tmp_path: Path) -> str:
    database = pg16.create_database("cli")
    pg16.execute("create table t (id int, v text); insert into t values (1, 'a'), (2, '[red]b')", database)
    path = tmp_path / "host.yml"
    path.write_text(yaml.safe_dump(pg16.host(tmp_path, database).model_dump(mode="json")))
    return str(path)


def test_fingerprint_saves_compares_and_fails_with_5(
    pg16: Cluster, config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    saved = str(tmp_path / "f.json")
    assert main(["--config", config, "fingerprint", "--save", saved]) == 0
    out, err = capfd.readouterr()
    assert "public.t" in out
    assert "cli: 1 tables, 2 rows" in out
    assert err == ""
    assert main(["--config", config, "fingerprint", "--against", saved, "--jobs", "1"]) == 0
    assert capfd.readouterr().out == "1 tables, 2 rows compared: equal\n"
    pg16.execute("update t set v = 'c' where id = 1", "cli")
    arguments = ["--config", config, "fingerprint", "--against", saved, "--output", "json"]
    assert main(arguments) == ExitCode.NOT_PROVEN
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["comparison"]["equal"] is False
    assert document["comparison"]["differences"][0]["key"] == "public.t"
    assert document["tables"]["public.t"]["rows"] == 2
    assert len(document["tables"]["public.t"]["checksum"]) == 32
    assert err.startswith("pgdr: error: 1 differences")
    assert err.count("\n") == 1


def test_names_are_no_markup_and_do_nothing_to_a_terminal(
    pg16: Cluster, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pg16.execute('create table "[bold]x[/bold]" (); create table "a\x1b[31mb\nc" ()', "cli")
    assert main(["--config", config, "fingerprint"]) == 0
    out = capfd.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "\x1b" not in out
    assert "a\\x1b[31mb\\nc" in out


def test_names_that_a_terminal_cannot_show_are_shown_by_their_numbers(pg16: Cluster, config: str) -> None:
    pg16.execute('create table "€ ü 🐘" ()', "cli")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    argv = [sys.executable, "-m", "pgdr.cli.main", "--config", config, "fingerprint"]
    people = subprocess.run(argv, check=True, capture_output=True, env=environment)
    assert "\\u20ac ü" in people.stdout.decode("latin-1")
    programs = subprocess.run([*argv, "--output", "json"], check=True, capture_output=True, env=environment)
    assert 'public."€ ü 🐘"' in json.loads(programs.stdout)["tables"]


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_result_that_cannot_be_written_is_one_line_and_no_bug(config: str, form: str) -> None:
    argv = [sys.executable, "-m", "pgdr.cli.main", "--config", config, "fingerprint", "--output", form]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == ExitCode.FAILED
    assert "the result cannot be written: No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_journal_commands(config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path / "state" / "journal.jsonl", "erp-test")
    for number in range(3):
        journal.append(operation="backup" if number else "restore", result="ok", times={"a": 1.5, "b": 2})
    base = ["--config", config, "journal"]
    assert main([*base, "list", "--operation", "backup", "-n", "1", "--output", "json"]) == 0
    assert [entry["seq"] for entry in json.loads(capfd.readouterr().out)] == [3]
    assert main([*base, "list"]) == 0
    assert "restore" in capfd.readouterr().out
    assert main([*base, "show", "2"]) == 0
    assert json.loads(capfd.readouterr().out)["seq"] == 2
    assert main([*base, "show", "9"]) == ExitCode.REFUSED
    capfd.readouterr()
    details = '{"n": 1, "password": "x"}'
    append = [*base, "append-internal", "--operation", "site", "--result", "ok", "--details"]
    assert main([*append, details]) == ExitCode.REFUSED
    assert main([*append, "[1]"]) == ExitCode.USAGE
    assert main([*append, '{"n": 1}']) == 0
    capfd.readouterr()
    assert main([*base, "verify"]) == 0
    assert "4 entries, unbroken" in capfd.readouterr().out
    journal.path.write_text(journal.path.read_text().replace('"result":"ok","seq":2', '"result":"no","seq":2'))
    assert main([*base, "verify", "--output", "json"]) == ExitCode.NOT_PROVEN
    out, err = capfd.readouterr()
    assert json.loads(out)["problem"]["line"] == 2
    assert "line 2: entry 2 was edited" in err
    assert err.count("\n") == 1
    # A copy can be checked where there is no host configuration.
    assert main(["journal", "verify", "--file", str(journal.path)]) == ExitCode.NOT_PROVEN


def test_a_missing_configuration_is_exit_code_3(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.yml"), "info"]) == ExitCode.CONFIG
    assert capfd.readouterr().err.startswith("pgdr: error: no host configuration at ")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["backup", "diff"], ["backup", "full", "--wait", "2"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert main(arguments) == ExitCode.USAGE


def test_a_bug_is_exit_code_70_with_a_traceback(
    config: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("pgdr.heartbeat.beat", broken)
    assert main(["--config", config, "heartbeat"]) == ExitCode.BUG
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "this is a bug" in err


def test_ctrl_c_stays_below_126(
    config: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pgdr.heartbeat.beat", interrupted)
    assert main(["--config", config, "heartbeat"]) == ExitCode.FAILED
    assert capfd.readouterr().err == "pgdr: error: interrupted\n"


def test_every_command_has_help_with_an_example(capfd: pytest.CaptureFixture[str]) -> None:
    """Also of sub-commands: a help without an example makes people guess."""
    root = entry._command()
    for name in COMMANDS:
        command = root.commands[name]
        leaves = getattr(command, "commands", None) or {"": command}
        for leaf in leaves:
            assert main([name, *([leaf] if leaf else []), "--help"]) == 0
            text = capfd.readouterr().out
            assert "Example" in text, f"{name} {leaf}"
            assert "install-completion" not in text


def test_the_heartbeat_does_not_load_what_it_does_not_need(config: str) -> None:
    """It runs each minute, for ever."""
    code = (
        "import sys\nfrom pgdr.cli.main import main\n"
        f"status = main(['--config', {config!r}, 'heartbeat', '--init'])\n"
        "print(status, sorted(m for m in sys.modules if m in"
        " {'rich.console', 'pgdr.policy', 'pgdr.recovery', 'pgdr.fingerprint', 'pgdr.pgbackrest', 'filelock'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"
