"""Filters that turn what pgBackRest prints into what the tasks of this role decide on.

They read three keys of ``info --output=json`` on their own and not through :mod:`pgdr.pgbackrest`: Ansible loads
a filter anew in the process of every task that names it, and pydantic alone takes longer to load than the
task takes to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Status of a repository: 0 is sound, 1 and 3 lack (a part of) the stanza, 2 has the stanza but no backup.
_READABLE = (0, 1, 2, 3)
_NO_STANZA = (1, 3)
_ARCHIVED = re.compile(r"WAL segment \S+ successfully archived to .* on repo(\d+)$", re.MULTILINE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
# What follows the cause: the message of each further attempt, the HTTP conversation, hints, decrypted noise.
_TAIL = re.compile(
    r"( \[\w+Error\] on (retry|\d+ retries) "
    r"|: \*\*\* "
    r"| HINT: "
    r"|(?<=key/value found outside of section) ).*$"
)
_LONGEST_MESSAGE = 300


def pgbackrest_state(output: str, stanza: str) -> dict[str, Any]:
    """Return what the repositories hold: ``repositories`` (one entry each) and ``backup_running``.

    Each entry has ``id``, ``readable``, ``message`` (why it is not), ``stanza`` (it exists),
    ``system_identifier`` (of the cluster that it belongs to), ``full`` (number of full backups of that one) and
    ``damaged`` (labels of its backups with damaged pages).
    """
    # A wrong passphrase puts raw bytes into messages, hence not strict.
    document: list[dict[str, Any]] = json.loads(str(output), strict=False)
    nothing: dict[str, Any] = {"status": {}, "repo": []}
    info = next((found for found in document if found["name"] == stanza), nothing)
    return {
        "backup_running": bool(info["status"].get("lock", {}).get("backup", {}).get("held", False)),
        "repositories": [_repository(info, repository) for repository in info["repo"]],
    }


def pgbackrest_unreadable(state: Mapping[str, Any], repositories: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each repository that could not be read: where it is, and why."""
    places = {int(repository["id"]): pgbackrest_place(repository) for repository in repositories}
    return [
        f"Repository {found['id']} ({places.get(found['id'], 'not of this role')}) cannot be read: {found['message']}."
        for found in state["repositories"]
        if not found["readable"]
    ]


def pgbackrest_place(repository: Mapping[str, Any]) -> str:
    """Say where a repository is, for a message."""
    if repository["type"] == "s3":
        return f"s3://{repository.get('bucket')}{repository['path']} at {repository.get('endpoint')}"
    return str(repository["path"])


def pgbackrest_archived_to(output: str) -> list[int]:
    """Return the ids of the repositories in which ``check`` saw its WAL segment arrive."""
    return sorted({int(found) for found in _ARCHIVED.findall(str(output))})


def _repository(info: dict[str, Any], repository: dict[str, Any]) -> dict[str, Any]:
    key = repository["key"]
    # After a major upgrade the stanza still lists backups of the former cluster; they protect nothing any more.
    clusters = {entry["id"]: entry for entry in info.get("db", []) if entry["repo-key"] == key}
    newest = max(clusters, default=None)
    backups = [
        backup
        for backup in info.get("backup", [])
        if backup["database"]["repo-key"] == key and backup["database"]["id"] == newest
    ]
    return {
        "id": key,
        "readable": repository["status"]["code"] in _READABLE,
        "message": _cause(repository["status"].get("message", "")),
        "stanza": repository["status"]["code"] not in _NO_STANZA,
        "system_identifier": str(clusters[newest]["system-id"]) if newest is not None else "",
        "full": sum(1 for backup in backups if backup["type"] == "full"),
        "damaged": [backup["label"] for backup in backups if backup.get("error")],
    }


def _cause(message: str) -> str:
    """Make one printable line of a message; a wrong passphrase fills it with decrypted noise."""
    line = _TAIL.sub("", " ".join(_UNPRINTABLE.sub(" ", message).split()))
    undecrypted = "CryptoError" in line and "certificate" not in line
    if undecrypted or "key/value found outside of section" in line:
        line = f"the passphrase does not open it: {line}"
    return line[:_LONGEST_MESSAGE]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "pgbackrest_archived_to": pgbackrest_archived_to,
            "pgbackrest_state": pgbackrest_state,
            "pgbackrest_unreadable": pgbackrest_unreadable,
        }
