#!/usr/bin/env python3
"""Inventory source: the hosts of the recovery site, with their addresses, from what Pulumi has built.

    pulumi up -s recovery            # in infra/recovery_site
    ansible-inventory -i inventories/recovery --list

It asks ``pulumi stack output`` of infra/recovery_site (stack ``recovery``, or ``PGDR_SITE_STACK``). On a machine
without Pulumi, name a file with what that command wrote: ``PGDR_SITE_OUTPUTS=outputs.json``. Where there is no site,
it says so in one line and adds nothing: the addresses in hosts.yml hold.

Only Python's own library: Ansible may run it with any Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).resolve().parents[2] / "infra" / "recovery_site"
_PULUMI_SECONDS = 60


class NoSiteError(Exception):
    """There is no recovery site to tell of; the message says why and what to do."""


def stack_outputs() -> dict[str, Any]:
    """Return the outputs of the recovery site's stack.

    Raises:
        NoSiteError: they cannot be had.
    """
    file = os.environ.get("PGDR_SITE_OUTPUTS")
    if file:
        try:
            return _mapping(Path(file).read_text(encoding="utf-8"), file)
        except OSError as error:
            raise NoSiteError(f"PGDR_SITE_OUTPUTS: cannot read {file}: {error.strerror}") from error
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        raise NoSiteError("pulumi is not on this machine; name a file with PGDR_SITE_OUTPUTS, or fill in hosts.yml")
    stack = os.environ.get("PGDR_SITE_STACK", "recovery")
    argv = [pulumi, "stack", "output", "--json", "--non-interactive", "--stack", stack, "--cwd", str(_PROGRAM)]
    try:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PULUMI_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise NoSiteError(f"pulumi stack output took longer than {_PULUMI_SECONDS} s") from error
    if done.returncode != 0:
        raise NoSiteError(f"pulumi stack output: {' '.join(done.stderr.split()) or done.returncode}")
    return _mapping(done.stdout, f"pulumi stack output of {stack}")


def _mapping(text: str, source: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NoSiteError(f"{source} is not JSON") from error
    if not isinstance(found, dict):
        raise NoSiteError(f"{source} is no mapping")
    return found


def inventory(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inventory as Ansible's script plugin takes it.

    Raises:
        NoSiteError: the stack has no hosts: it was never applied, or is switched off.
    """
    site = outputs.get("inventory") or {}
    if not site.get("hosts"):
        raise NoSiteError("the stack has no hosts: pulumi up -s recovery in infra/recovery_site")
    groups = {name: {"hosts": sorted(group["hosts"])} for name, group in site["groups"].items()}
    return {**groups, "_meta": {"hostvars": site["hosts"]}}


def main() -> int:
    """Write the inventory; without a site an empty one, and one line that says why."""
    try:
        found = inventory(stack_outputs())
    except NoSiteError as error:
        sys.stderr.write(f"recovery site: {error}\n")
        found = {"_meta": {"hostvars": {}}}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
