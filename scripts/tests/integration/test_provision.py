"""Phase `provision` of dr-restore.yml alone. Pulumi's program cannot be had here: a stand-in notes how it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
# Ansible's exit code for hosts that cannot be reached.
_UNREACHABLE = 4
PULUMI = """#!/bin/sh
echo "$@" >> "{log}"
case $1 in
    version) echo v3.0.0 ;;
    up) {up} ;;
esac
"""


def _play(tmp_path: Path, up: str, *options: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    if up:
        program.write_text(PULUMI.format(log=tmp_path / "called", up=up), encoding="utf-8")
        program.chmod(0o755)
    site = tmp_path / "recovery_site"
    site.mkdir()
    (site / "Pulumi.yaml").write_text("name: recovery-site\n", encoding="utf-8")
    argv = [str(BIN / "ansible-playbook"), "-i", "inventories/recovery", "playbooks/dr-restore.yml"]
    path = f"{program.parent}:/usr/bin:/bin"
    return subprocess.run(
        [*argv, "-e", f"site_program={site}", *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        timeout=300,
    )


def _built(tmp_path: Path) -> list[str]:
    """The calls that build; the inventory itself asks for the stack's outputs."""
    calls = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    return [call for call in calls if call.startswith("up")]


def _errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What tasks said; Ansible shows the inventory's own line, that no site is there yet, in the same way."""
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]: Task failed")]


def test_the_site_is_built_and_no_host_is_asked(tmp_path: Path) -> None:
    """The tag alone builds; the inventory's host does not exist, and nothing waits for it."""
    done = _play(tmp_path, "echo '    + 12 created'", "--tags", "provision")
    assert done.returncode == 0, done.stdout + done.stderr
    (up,) = _built(tmp_path)
    assert up.startswith("up --stack=recovery --yes --non-interactive")
    assert f"--cwd={tmp_path / 'recovery_site'}" in up
    assert "changed=1" in done.stdout


@pytest.mark.parametrize(
    ("up", "said"),
    [("", "pulumi is not on this machine"), ("echo 'error: no quota for r6i.xlarge' >&2; exit 255", "no quota")],
    ids=["no pulumi", "no quota"],
)
def test_what_cannot_be_built_stops_in_one_line(tmp_path: Path, up: str, said: str) -> None:
    done = _play(tmp_path, up, "-e", "provision=true")
    assert done.returncode != 0
    (line,) = _errors(done)
    assert said in line


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    """Another phase's tag never builds a site: it goes to the host at once, which refuses the connection here."""
    nobody = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=9"]
    done = _play(tmp_path, "echo built", "--tags", "notify", *nobody)
    assert "notify | Tell the channels of the policy" in done.stdout
    assert done.returncode == _UNREACHABLE, done.stdout + done.stderr
    assert _built(tmp_path) == []
