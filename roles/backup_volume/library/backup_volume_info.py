#!/usr/bin/python
"""Say what lies under a path and what a block device holds. Reads only."""

from __future__ import annotations

import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: backup_volume_info
short_description: What lies under a path, and what a block device holds
description:
  - Reads only, in one round trip, so that nothing is formatted or created before everything is known.
author: the pgdr project
options:
  path:
    description: The path that backups will use; it need not exist.
    type: path
    required: true
  device:
    description: The block device meant for it, or an empty string.
    type: str
    default: ''
  label:
    description: Label of a file system that this role made.
    type: str
    required: true
  owner:
    description: User that is to own the path and the folders.
    type: str
    required: true
  group:
    description: Group of the path and the folders.
    type: str
    required: true
  mode:
    description: Mode of the path and the folders, as octal digits.
    type: str
    required: true
  folders:
    description: Names of folders in the path.
    type: list
    elements: str
    default: []
"""

RETURN = r"""
mounted:
  description: The path itself is a mount point.
  type: bool
  returned: always
source:
  description: What the file system under the path, or under its nearest existing parent, was mounted from.
  type: str
  returned: always
size_bytes:
  description: Size of that file system.
  type: int
  returned: always
owner_exists:
  description: The owner is a user of the host.
  type: bool
  returned: always
to_make:
  description: The path and those folders that do not exist as wanted.
  type: list
  returned: always
device_holds:
  description: >
    none (no device given), missing, nothing, ours (XFS with our label), mounted (it is what the path is mounted
    from), or a text that names what was found.
  type: str
  returned: always
device_is_block:
  description: The device is a block device.
  type: bool
  returned: always
device_size_bytes:
  description: Size of the device.
  type: int
  returned: always
"""

HEAD_BYTES = 1024 * 1024


def command_json(module: AnsibleModule, argv: list[str]) -> dict[str, Any]:
    """Run a program that answers in JSON; an empty answer where it finds nothing."""
    status, out, err = module.run_command([module.get_bin_path(argv[0], required=True), *argv[1:]])
    if status != 0 and out.strip():
        module.fail_json(msg=f"{argv[0]} exited with {status}: {err.strip()}")
    return dict(json.loads(out)) if out.strip() else {}


def nearest_existing(path: Path) -> Path:
    """The path itself or the closest parent that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def signatures(module: AnsibleModule, device: Path) -> list[dict[str, Any]]:
    """File systems, RAID and LVM members, partition tables: all that wipefs knows, without touching any."""
    return list(command_json(module, ["wipefs", "--no-act", "--json", str(device)]).get("signatures") or [])


def parts(module: AnsibleModule, device: Path) -> list[str]:
    """Partitions of a block device, and what is stacked on it."""
    answer = command_json(module, ["lsblk", "--json", "--paths", "--output", "NAME,TYPE", str(device)])
    children = [child for node in answer.get("blockdevices", []) for child in node.get("children", [])]
    return [f"{child['type']} {child['name']}" for child in children]


def device_size(device: Path) -> int:
    """Size of a block device or of a plain file."""
    with device.open("rb") as stream:
        return stream.seek(0, os.SEEK_END)


def holds(module: AnsibleModule, device: Path, label: str) -> str:
    """Tell what a device holds: nothing, ours, or a text that names what was found."""
    found = signatures(module, device)
    if found:
        ours = [entry for entry in found if entry.get("type") == "xfs" and entry.get("label") == label]
        return "ours" if ours == found else ", ".join(sorted({str(entry["type"]) for entry in found}))
    if device.is_block_device() and (stacked := parts(module, device)):
        return ", ".join(stacked)
    with device.open("rb") as stream:
        if stream.read(HEAD_BYTES).strip(b"\0"):
            return "data of an unknown kind"
    return "nothing"


def describe_device(module: AnsibleModule, name: str, label: str, source: str) -> dict[str, Any]:
    """All return values that speak of the device."""
    answer = {"device_holds": "none", "device_is_block": False, "device_size_bytes": 0}
    if not name:
        return answer
    device = Path(name).resolve()
    if not device.exists():
        return {**answer, "device_holds": "missing"}
    mounted_here = source != "" and Path(source).resolve() == device
    return {
        "device_holds": "mounted" if mounted_here else holds(module, device, label),
        "device_is_block": stat.S_ISBLK(device.stat().st_mode),
        "device_size_bytes": device_size(device),
    }


def user_exists(name: str) -> bool:
    """True when the host knows the user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def as_wanted(folder: Path, params: dict[str, Any]) -> bool:
    """True when a folder exists with the wanted owner, group and mode."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    try:
        owner, group = folder.owner(), folder.group()
    except KeyError:
        return False
    mode = stat.S_IMODE(folder.stat().st_mode)
    return (owner, group, mode) == (params["owner"], params["group"], int(params["mode"], 8))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "device": {"type": "str", "default": ""},
            "label": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "mode": {"type": "str", "required": True},
            "folders": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    columns = ["--bytes", "--output", "SOURCE,TARGET,SIZE"]
    answer = command_json(
        module, ["findmnt", "--json", *columns, "--nofsroot", "--target", str(nearest_existing(path))]
    )
    below = dict((answer.get("filesystems") or [{}])[-1])
    wanted = [path, *(path / name for name in module.params["folders"])]
    mounted = below.get("target") == str(path)
    source = str(below.get("source") or "")
    module.exit_json(
        changed=False,
        mounted=mounted,
        source=source,
        size_bytes=int(below.get("size") or 0),
        to_make=[str(f) for f in wanted if not as_wanted(f, module.params)],
        owner_exists=user_exists(module.params["owner"]),
        **describe_device(module, module.params["device"], module.params["label"], source if mounted else ""),
    )


if __name__ == "__main__":
    main()
