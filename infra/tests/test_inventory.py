"""The recovery inventory takes every address from what Pulumi built, through Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recorder import INFRA, Recording

INVENTORY = INFRA.parent / "inventories" / "recovery"
_ANSIBLE = Path(sys.executable).with_name("ansible-inventory")


def _ansible(environment: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Return what Ansible makes of the inventory, and what it says."""
    done = subprocess.run(
        [str(_ANSIBLE), "-i", str(INVENTORY), "--list"],
        check=True,
        cwd=INFRA.parent,
        capture_output=True,
        text=True,
        # No pulumi of this machine: the tests bring their own.
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PGDR_")},
            "PATH": "/usr/bin:/bin",
            **environment,
        },
    )
    return json.loads(done.stdout), " ".join(done.stderr.split())


def _pulumi(folder: Path, text: str, status: int = 0) -> str:
    """Put a pulumi that answers like the real one first in the path; return that path."""
    program = folder / "pulumi"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "assert sys.argv[1:4] == ['stack', 'output', '--json'], sys.argv\n"
        f"sys.stdout.write({text!r}) if {status} == 0 else sys.stderr.write({text!r})\nsys.exit({status})\n"
    )
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_addresses_come_from_the_stack(site: Recording, tmp_path: Path) -> None:
    found, said = _ansible({"PATH": _pulumi(tmp_path, json.dumps(site.outputs))})
    host = found["_meta"]["hostvars"]["erp-dr1.example.com"]
    assert host["ansible_host"] == "10.60.128.4"
    assert host["ansible_ssh_common_args"] == "-o ProxyJump=admin@198.51.100.7"
    # The same host as in hosts.yml, with the policy of its inventory; not a second one beside it.
    assert found["recovery_target"]["hosts"] == ["erp-dr1.example.com"]
    assert host["recovery_policy"]["environment"] == "recovery"
    assert found["recovery_application"]["hosts"] == ["erp-app-dr1.example.com"]
    assert "recovery site" not in said


def test_an_exported_file_stands_for_pulumi(site: Recording, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(site.outputs))
    found, _ = _ansible({"PGDR_SITE_OUTPUTS": str(outputs)})
    assert found["_meta"]["hostvars"]["erp-dr1.example.com"]["ansible_host"] == "10.60.128.4"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            None,
            "recovery site: pulumi is not on this machine; name a file with PGDR_SITE_OUTPUTS, or fill in hosts.yml",
        ),
        ((json.dumps({"inventory": {}}), 0), "recovery site: the stack has no hosts: pulumi up -s recovery"),
        (("error: no stack named 'recovery' found", 255), "recovery site: pulumi stack output: error: no stack named"),
        (("oops", 0), "recovery site: pulumi stack output of recovery is not JSON"),
    ],
    ids=["no pulumi", "no hosts", "no stack", "no JSON"],
)
def test_without_a_site_one_line_says_so_and_hosts_yml_holds(
    answer: tuple[str, int] | None, expected: str, tmp_path: Path
) -> None:
    found, said = _ansible({} if answer is None else {"PATH": _pulumi(tmp_path, *answer)})
    assert expected in said
    assert found["_meta"]["hostvars"]["erp-dr1.example.com"]["ansible_host"] == "203.0.113.11"
