"""Look for the secrets of a lab where they do not belong."""

from __future__ import annotations

import base64
from urllib.parse import quote

from drill.host import Host
from lab.api import Lab
from pgdr.errors import OperationFailedError

# Logs, journal, recovery state, temporary files, spools: all that a program may write a secret into by mistake.
ON_HOST = (
    "/var/log",
    "/var/lib/pgdr",
    "/var/spool",
    "/var/tmp",  # noqa: S108 - looked into, not used
    "/tmp",  # noqa: S108
    "/run/log",
    "/run/pgdr",
    "/root",
    "/opt/pgdr",
)
_SHORTEST = 8


def planted(lab: Lab) -> list[str]:
    """Every secret of the lab, also as it would look in a header or in an address.

    Raises:
        OperationFailedError: there are none, or one is too short to be looked for.
    """
    values = {value.strip() for value in lab.secrets().values()}
    if len(values) < 5 or min(len(value) for value in values) < _SHORTEST:
        raise OperationFailedError(f"the lab {lab.name} has no secrets that could be looked for")
    encoded = {base64.b64encode(value.encode()).decode().rstrip("=") for value in values}
    return sorted(values | encoded | {quote(value, safe="") for value in values})


def in_files(host: Host, secrets: list[str], *paths: str) -> list[str]:
    """Files of a host with a secret in them; the secrets go in through standard input."""
    argv = ["grep", "-rlaF", "--devices=skip", "-f", "-", *paths]
    return host.run(*argv, check=False, input="\n".join(secrets) + "\n").stdout.splitlines()


def in_text(text: str, secrets: list[str]) -> bool:
    """Whether a text has a secret in it."""
    return any(secret in text for secret in secrets)


def in_journal(host: Host, secrets: list[str]) -> bool:
    """Whether the system's journal has a secret in it; its files are packed, so it is asked for its text."""
    return in_text(host.run("journalctl", "--no-pager", "--output=verbose", "--all").stdout, secrets)
