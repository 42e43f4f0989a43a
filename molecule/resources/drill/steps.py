"""What scenarios of steps share: a step that fails ends the run, and plays are run and held to what they say.

A scenario's ``conftest.py`` imports the two hooks; pytest finds them there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from drill.play import ROOT, environment
from lab.api import Lab
from pgdr.errors import NotProvenError

# As the lab's policy calls its cluster.
_CLUSTER = "erp-lab"
_SHOWN = 4000  # characters of what a failed play said last


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker that these scenarios use."""
    config.addinivalue_line("markers", "step: the tests after it build on it")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """End the run when a step fails: everything after it would fail for the same reason."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and item.get_closest_marker("step"):
        item.session.shouldfail = f"{item.name} failed, and what follows builds on it"


class Plays:
    """Runs playbooks to their end, against the lab's inventory, as a person would who cannot be asked.

    Args:
        lab: the lab.
        folder: what playbooks are named from.
        seconds: how long one may take.
    """

    def __init__(self, lab: Lab, folder: Path, *, seconds: float) -> None:
        self._lab = lab
        self._folder = folder
        self._seconds = seconds

    def run(self, playbook: str, extra: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
        """Run a playbook."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return subprocess.run(
            [program, "-i", "inventories/lab", str(self._folder / playbook), "-e", json.dumps(dict(extra))],
            check=False,
            cwd=ROOT,
            env=environment(self._lab.name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self._seconds,
        )

    def succeed(self, playbook: str, **extra: object) -> str:
        """Run a playbook that must succeed, with consent; what it said.

        Raises:
            NotProvenError: it failed.
        """
        done = self.run(playbook, {"restore_confirm": _CLUSTER, **extra})
        if done.returncode != 0:
            raise NotProvenError(f"{playbook} failed: {(done.stdout + done.stderr)[-_SHOWN:]}")
        return done.stdout

    def error(self, playbook: str, **extra: object) -> str:
        """Run a playbook that must fail, and return its one line.

        Raises:
            NotProvenError: it succeeded, or said more or less than one line.
        """
        done = self.run(playbook, extra)
        said = done.stdout + done.stderr
        lines = [line for line in said.splitlines() if line.startswith("[ERROR]: ")]
        if done.returncode == 0 or len(lines) != 1:
            raise NotProvenError(f"{playbook} ended with {done.returncode} and {len(lines)} lines of error: {said}")
        return lines[0]
