"""Run a playbook against a lab, as a person would, with its output in a log file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pgdr.errors import OperationFailedError

ROOT = Path(__file__).resolve().parents[3]
_TAIL = 40
_TASK = re.compile(r"TASK \[(.+)\] \*")


def lab_folder(lab: str) -> Path:
    """Where a lab keeps its files."""
    return ROOT / ".lab" / lab


def command(playbook: str, extra: Mapping[str, object]) -> list[str]:
    """The argument list of a play against the lab inventory."""
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", f"playbooks/{playbook}"]
    for name, value in extra.items():
        argv += ["-e", f"{name}={value}"]
    return argv


def environment(lab: str) -> dict[str, str]:
    """The environment of a play: which lab, and no colours in the log."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PGDR_LAB": lab, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}


def run_play(
    lab: str, playbook: str, extra: Mapping[str, object] | None = None, note: Callable[[str], None] = lambda _: None
) -> float:
    """Run a playbook to its end and return the seconds that it took.

    Args:
        lab: name of the lab.
        playbook: file below ``playbooks/``.
        extra: variables for its command line.
        note: called with the name of each task that begins.

    Raises:
        OperationFailedError: it failed; the message has the end of its output.
    """
    log = lab_folder(lab) / f"{Path(playbook).stem}.log"
    begin = time.monotonic()
    child = subprocess.Popen(
        command(playbook, extra or {}),
        cwd=ROOT,
        env=environment(lab),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with child, log.open("w", encoding="utf-8") as sink:
        for line in child.stdout or ():
            sink.write(line)
            found = _TASK.match(line)
            if found:
                note(found[1])
    if child.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        raise OperationFailedError(
            f"{playbook} ended with {child.returncode}", remedy=f"see {log}\n" + "\n".join(lines)
        )
    return time.monotonic() - begin
