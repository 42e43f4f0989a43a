"""The stages of ``make test``. Each writes one log below ``.lab/test`` and returns an outcome."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import engine
from pgdr.errors import OperationFailedError
from suite import programs
from suite.outcome import Outcome, count_junit, take_second_try

ROOT = Path(__file__).resolve().parents[3]
LOGS = ROOT / ".lab" / "test"
_BIN = Path(sys.executable).parent

# So many failed tests are run again alone; more are no accident.
_FEW = 3

Stage = Callable[[], Outcome]


@dataclass(frozen=True)
class Linter:
    """A program that finds faults without running anything."""

    name: str
    argv: tuple[str, ...]


LINTERS = (
    Linter("ruff check", ("ruff", "check", ".")),
    Linter("ruff format", ("ruff", "format", "--check", ".")),
    Linter("mypy --strict", ("mypy",)),
    Linter("yamllint", ("yamllint", "--strict", ".")),
    Linter("ansible-lint", ("ansible-lint", "--offline", "--strict")),
)


def _linters() -> list[Linter]:
    """All linters; shellcheck gets every shell script by its first line, templates aside."""
    found = subprocess.run(
        [
            shutil.which("git") or "git",
            "grep",
            "-lE",
            "^#!(/bin/(ba)?sh|/usr/bin/env bash)",
            "--",
            ":!*.j2",
            ":!*.py",
            ":!*.md",
        ],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return [*LINTERS, Linter("shellcheck", ("shellcheck", *found.stdout.split()))]


def _environment(**more: str) -> dict[str, str]:
    path = more.pop("PATH", os.environ["PATH"])
    return {**os.environ, "PATH": f"{_BIN}:{path}", "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1", **more}


def _run(argv: Sequence[str], log: Path, **environment: str) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"$ {' '.join(argv)}\n")
        sink.flush()
        done = subprocess.run(
            argv,
            check=False,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=_environment(**environment),
        )
    return done.returncode


def lint() -> Outcome:
    """Run every linter and show all that they find."""
    outcome = Outcome("lint", log=LOGS / "lint.log")
    log = _fresh(outcome)
    begin = time.monotonic()
    faulty = []
    for linter in _linters():
        if _run([str(_BIN / linter.argv[0]), *linter.argv[1:]], log) == 0:
            outcome.passed += 1
        else:
            outcome.failed += 1
            faulty.append(linter.name)
    outcome.seconds = time.monotonic() - begin
    outcome.note = f"faults: {', '.join(faulty)}" if faulty else ""
    return outcome


def python_tests() -> Outcome:
    """Run every pytest suite that needs no container."""
    others = (path for path in ROOT.glob("molecule/resources/*/tests") if path.parent.name != "lab")
    folders = ["scripts/tests", *sorted(str(path) for path in others)]
    return run_pytest("python", folders, "-n", "2", "--dist", "loadscope", PATH=programs.ensure(), **_engine())


def _engine() -> dict[str, str]:
    """The hosts' pgBackRest, this distribution's own may be too old; without it its tests are skipped, and counted."""
    try:
        return {"PGDR_TEST_PGBACKREST": str(engine.ensure())}
    except OperationFailedError as error:
        sys.stderr.write(f"suite: {error}\n")
        return {}


# Where it is not used its plugin reads itself in at the very end, beside Pulumi's threads, and Python 3.11's parser now
# and then loses count of its own depth there (SystemError: AST constructor recursion depth mismatch).
_NO_HYPOTHESIS = ("-p", "no:hypothesispytest")


def infra_tests() -> Outcome:
    """Run the tests of the cloud side that need no container."""
    return run_pytest("infra", ["infra/tests"], "--ignore=infra/tests/enforced", *_NO_HYPOTHESIS)


def lab_tests() -> Outcome:
    """Run the tests of the lab itself, and the cloud's policies in force on its S3 server, one after the other."""
    return run_pytest("lab", ["molecule/resources/lab/tests", "infra/tests/enforced"], *_NO_HYPOTHESIS)


def run_pytest(name: str, folders: list[str], *options: str, **environment: str) -> Outcome:
    """Run pytest; a few tests that failed are run again alone, and named as unsteady if they pass then.

    Args:
        name: of the stage; its log and results are called so.
        folders: with tests, or files.
        options: for the first run.
        environment: more of it.
    """
    outcome = Outcome(name, log=LOGS / f"{name}.log")
    log = _fresh(outcome)
    junit = LOGS / f"{name}.xml"
    begin = time.monotonic()
    pytest = [sys.executable, "-m", "pytest"]
    status = _run([*pytest, *options, f"--junitxml={junit}", *folders], log, **environment)
    count_junit(junit, outcome)
    if 0 < outcome.failed <= _FEW and outcome.failed == len(outcome.faults):
        again, second = Outcome(name), LOGS / f"{name}-again.xml"
        second.unlink(missing_ok=True)
        alone = ["--last-failed", "--last-failed-no-failures=none", f"--junitxml={second}", *folders]
        if _run([*pytest, *alone], log, **environment) == 0:
            count_junit(second, again)
            take_second_try(outcome, again)
            status = 0 if outcome.failed == 0 else status
    outcome.seconds = time.monotonic() - begin
    return _blame(outcome, status)


def scenarios() -> list[str]:
    """Names of the molecule scenarios, as folders with a molecule.yml."""
    return sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))


def held_back(name: str) -> str:
    """Why a scenario is not part of ``make test`` yet: the text of its file ``HELD_BACK``; nothing for all others."""
    note = ROOT / "molecule" / name / "HELD_BACK"
    return " ".join(note.read_text(encoding="utf-8").split()) if note.exists() else ""


def scenario(name: str) -> Outcome:
    """Run one molecule scenario from nothing to nothing."""
    outcome = Outcome(f"molecule {name}", log=LOGS / f"molecule-{name}.log")
    log = _fresh(outcome)
    junit = LOGS / f"molecule-{name}.xml"
    begin = time.monotonic()
    status = _run(
        [str(_BIN / "molecule"), "test", "--scenario-name", name],
        log,
        # Molecule calls testinfra "successful" when it finds no test at all: the file tells the truth.
        PYTEST_ADDOPTS=f"--junitxml={junit}",
        PGDR_LAB=name,
    )
    outcome.seconds = time.monotonic() - begin
    count_junit(junit, outcome)
    return _blame(outcome, status)


def drill() -> Outcome:
    """Run the drill at a small size; it ends well only if the data was proven."""
    outcome = Outcome("drill", log=LOGS / "drill.log")
    log = _fresh(outcome)
    begin = time.monotonic()
    status = _run([sys.executable, "-m", "drill", "run", "--lab", "testdrill", "--size-mb", "100"], log)
    outcome.seconds = time.monotonic() - begin
    outcome.passed = int(status == 0)
    return _blame(outcome, status)


def able() -> str:
    """Make this machine able to run the lab; return the one line that says why it is not, or nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "doctor", "--install"],
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environment(),
    )
    sys.stderr.write(done.stderr)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else "lab doctor failed")


def _fresh(outcome: Outcome) -> Path:
    log = outcome.log or LOGS / f"{outcome.name}.log"
    for old in (log, log.with_suffix(".xml")):
        old.unlink(missing_ok=True)
    return log


def _blame(outcome: Outcome, status: int) -> Outcome:
    """A stage that ended badly without a failed test has failed all the same."""
    if status != 0 and outcome.failed == 0:
        outcome.failed += 1
        outcome.note = outcome.note or f"ended with status {status}"
    if outcome.failed and not outcome.faults and outcome.log and outcome.log.exists():
        text = outcome.log.read_text(encoding="utf-8", errors="replace")
        outcome.faults = [f"{outcome.note}: {line}" for line in telling_lines(text)]
    return outcome


def free_memory_gib() -> float:
    """Memory that is free for more containers."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return 0.0


# What Ansible, molecule and our own commands write before a line that says why they ended.
_TELLING = re.compile(r"^(fatal:|failed:|\[?ERROR\]?|CRITICAL|E  |msg:|\w+: error:|.*Error: )")
_FEW_LINES, _LINE_LENGTH = 4, 500


def telling_lines(log: str) -> list[str]:
    """The lines of a log that say why a stage ended badly where no test of it has a name; its last ones otherwise.

    Whoever reads CI's output sees its end alone, and the log goes with the clone.

    Args:
        log: the text of it.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    told = [line for line in lines if _TELLING.match(line)]
    return [line[:_LINE_LENGTH] for line in (told or lines)[-_FEW_LINES:]]


def tail(path: Path, lines: int = 60) -> str:
    """The end of a log, for a failed stage."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def width() -> int:
    """Columns of the terminal, or a fixed number in a log."""
    return shutil.get_terminal_size((120, 40)).columns
