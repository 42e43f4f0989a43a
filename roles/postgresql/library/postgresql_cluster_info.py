#!/usr/bin/python
"""Say what is on a host: PostgreSQL packages, a cluster's configuration, its data directory."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: postgresql_cluster_info
short_description: What a Debian host holds of one PostgreSQL cluster
description:
  - Reads only. Answers in one round trip what the role would otherwise ask with many tasks.
  - Warns when an existing cluster has no data checksums.
author: the pgdr project
options:
  version:
    description: Major version of PostgreSQL.
    type: int
    required: true
  cluster:
    description: Debian name of the cluster.
    type: str
    required: true
  data_directory:
    description: Where the cluster's data is, or is to be.
    type: path
    required: true
  packages:
    description: Packages to look for.
    type: list
    elements: str
    default: []
"""

RETURN = r"""
missing_packages:
  description: Those of the packages that are not installed.
  type: list
  returned: always
configured:
  description: The cluster has a postgresql.conf below /etc/postgresql.
  type: bool
  returned: always
configured_data_directory:
  description: The data directory that this configuration names, or an empty string.
  type: str
  returned: always
data:
  description: >
    State of the data directory: absent, empty, cluster, unfinished (a restore that did not end: no pg_control)
    or occupied (files that are no cluster).
  type: str
  returned: always
data_version:
  description: Major version in PG_VERSION, or an empty string.
  type: str
  returned: always
data_first_entry:
  description: Name of the first entry, to tell a person what is there.
  type: str
  returned: always
running:
  description: A server process runs on this data directory.
  type: bool
  returned: always
enabled:
  description: systemd starts the cluster at boot.
  type: bool
  returned: always
checksums:
  description: Data checksums are on; null where that is not known.
  type: bool
  returned: always
"""

CONFIG_ROOT = Path("/etc/postgresql")
PROGRAM_ROOT = Path("/usr/lib/postgresql")
# Debian's generator links a cluster here when its start.conf says auto; an enabled unit of its own is linked there.
BOOT_LINKS = (
    Path("/run/systemd/generator/postgresql.service.wants"),
    Path("/etc/systemd/system/multi-user.target.wants"),
)


def read_text(path: Path) -> str:
    """Return a small file's text, or an empty string when it does not exist."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def data_state(path: Path) -> dict[str, str]:
    """Tell what a data directory holds, from its entries alone."""
    try:
        entries = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return {"data": "absent", "data_version": "", "data_first_entry": ""}
    version = read_text(path / "PG_VERSION").strip()
    if not entries:
        state = "empty"
    elif not version:
        state = "occupied"
    elif not (path / "global" / "pg_control").exists():
        # pgBackRest writes pg_control last, so its absence marks a restore that was cut off.
        state = "unfinished"
    else:
        state = "cluster"
    return {"data": state, "data_version": version, "data_first_entry": entries[0] if entries else ""}


def is_running(data_directory: Path) -> bool:
    """True when the process that postmaster.pid names is a server on this data directory.

    Its argument list is what a container's root may read too; its working folder is not.
    """
    pid = read_text(data_directory / "postmaster.pid").split("\n", 1)[0].strip()
    arguments = read_text(Path(f"/proc/{pid}/cmdline")).split("\0") if pid.isdigit() else []
    named = [after for option, after in itertools.pairwise(arguments) if option == "-D"]
    return any(Path(name).resolve() == data_directory.resolve() for name in named)


def missing_packages(module: AnsibleModule, names: list[str]) -> list[str]:
    """Those of the names that dpkg does not hold as installed."""
    if not names:
        return []
    query = module.get_bin_path("dpkg-query", required=True)
    shown = "--showformat=${Package} ${db:Status-Status}\n"
    # The status is 1 as soon as one name is unknown; what is known is printed all the same.
    _, out, _ = module.run_command([query, "--show", shown, *names], environ_update={"LC_ALL": "C"})
    installed = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def configured_directory(module: AnsibleModule, version: str, cluster: str) -> str:
    """The data_directory that the configuration names, asked from Debian's own tool."""
    tool = module.get_bin_path("pg_conftool")
    if not tool:
        return ""
    status, out, _ = module.run_command([tool, "--short", version, cluster, "show", "data_directory"])
    return out.strip() if status == 0 else ""


def checksums_on(module: AnsibleModule, program: Path, data_directory: Path) -> bool | None:
    """Read the checksum version from the control file; None where the program is missing or fails."""
    if not program.exists():
        return None
    environment = {"LC_ALL": "C"}
    status, out, _ = module.run_command([str(program), str(data_directory)], environ_update=environment)
    found = re.search(r"^Data page checksum version:\s+(\d+)$", out, re.MULTILINE)
    return found.group(1) != "0" if status == 0 and found else None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "int", "required": True},
            "cluster": {"type": "str", "required": True},
            "data_directory": {"type": "path", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    version, cluster = str(module.params["version"]), module.params["cluster"]
    data_directory = Path(module.params["data_directory"])
    programs = PROGRAM_ROOT / version / "bin"
    configured = (CONFIG_ROOT / version / cluster / "postgresql.conf").exists()
    data = data_state(data_directory)
    checksums = None
    if data["data"] == "cluster":
        checksums = checksums_on(module, programs / "pg_controldata", data_directory)
    if checksums is False:
        module.warn(
            f"Data checksums are OFF in {data_directory}: a damaged page would be backed up without a word."
            f" Plan a stop of the database and run: {programs}/pg_checksums --enable -D {data_directory}"
        )
    module.exit_json(
        changed=False,
        missing_packages=missing_packages(module, module.params["packages"]),
        configured=configured,
        configured_data_directory=configured_directory(module, version, cluster) if configured else "",
        running=is_running(data_directory),
        enabled=any((links / f"postgresql@{version}-{cluster}.service").is_symlink() for links in BOOT_LINKS),
        checksums=checksums,
        **data,
    )


if __name__ == "__main__":
    main()
