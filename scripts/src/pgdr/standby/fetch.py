"""How a server fetches archived WAL by itself while it recovers."""

from __future__ import annotations

import shlex
from pathlib import Path

from pgdr.files import write_atomically
from pgdr.pgbackrest.client import PgBackRest

_SETTINGS = "postgresql.auto.conf"


def fetch_command(client: PgBackRest) -> str:
    """Not the wrapper of a recovery: a repository that fails would end this server, and its own WAL is there too."""
    argv = client.command("--no-archive-async", "archive-get")
    return f'{shlex.join(argv).replace("%", "%%")} %f "%p"'


def recover_at_start(data_directory: Path, client: PgBackRest) -> None:
    """Have a stopped server recover to the end of its WAL when it starts, and begin a timeline of its own there."""
    path = data_directory / _SETTINGS
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    quoted = fetch_command(client).replace("'", "''")
    write_atomically(path, f"{before.rstrip()}\nrestore_command = '{quoted}'\n".lstrip(), 0o600)
    write_atomically(data_directory / "recovery.signal", "", 0o600)
