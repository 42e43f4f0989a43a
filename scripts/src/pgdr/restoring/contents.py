"""The list of contents of a dump, and what of it is restored when.

Entries are chosen by their numbers in the catalog that they were dumped from, never by name: ``pg_restore``'s own
options take names without schema, or patterns. The list is what ``pg_restore --list`` prints:
``dump-id; catalog object-number KIND schema name owner``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgdr import process
from pgdr.archive.dump import client_environment
from pgdr.archive.names import LIST
from pgdr.errors import NotProvenError
from pgdr.hostconfig import HostConfig
from pgdr.process import CommandError

_ENTRY = re.compile(r"^(\d+); (\d+) (\d+) (.*)$")

# Numbers of PostgreSQL's own catalogs; they have been the same in all versions.
PG_CLASS, PG_CONSTRAINT, PG_NAMESPACE = 1259, 2606, 2615
_EXTENSION = 3079
# Made with a superuser's rights, or by them able to act with those of others: event triggers run as whoever does
# something, publications send data away, a foreign server and its mappings hold addresses and secrets.
_PRIVILEGED_CATALOGS = {
    3466: "event trigger",
    6104: "publication",
    6106: "publication",
    6237: "publication",
    6100: "subscription",
    3576: "transform",
    2612: "language",
    2328: "foreign data wrapper",
    1417: "foreign server",
    1418: "user mapping",
}
_PRIVILEGED_WORDS = (
    "EVENT TRIGGER ",
    "PUBLICATION ",
    "SUBSCRIPTION ",
    "TRANSFORM ",
    "LANGUAGE ",
    "PROCEDURAL LANGUAGE ",
    "FOREIGN DATA WRAPPER ",
    "FOREIGN SERVER ",
    "SERVER ",
    "USER MAPPING ",
)


@dataclass(frozen=True)
class Entry:
    """One line of the list.

    Attributes:
        line: the line as it was.
        catalog: the catalog that the object stood in; 0 for data, privileges and comments.
        oid: its number there.
        text: kind, schema, name and owner.
    """

    line: str
    catalog: int
    oid: int
    text: str

    @property
    def is_privilege(self) -> bool:
        """A GRANT, REVOKE or default privilege."""
        return self.text.startswith(("ACL ", "DEFAULT ACL "))

    @property
    def is_extension(self) -> bool:
        """An extension or its comment: extensions are made from the server's own files."""
        return self.catalog == _EXTENSION or self.text.startswith("COMMENT - EXTENSION ")

    @property
    def is_privileged(self) -> bool:
        """Something that is made only when a person has seen it in the plan."""
        if self.catalog in _PRIVILEGED_CATALOGS:
            return True
        for word in ("COMMENT - ", "ACL - ", "SECURITY LABEL - "):
            if self.text.startswith(word):
                return self.text.removeprefix(word).startswith(_PRIVILEGED_WORDS)
        return False

    @property
    def is_table_data(self) -> bool:
        """The rows of one table; the number is the table's."""
        return self.catalog == 0 and self.text.startswith("TABLE DATA ")


def read_contents(config: HostConfig, dump: Path) -> tuple[Entry, ...]:
    """Read the list of contents of a dump, in the order in which it restores.

    A schema's dump that was made of the full one has a list of its own.

    Raises:
        NotProvenError: it cannot be read.
    """
    own = dump / LIST
    if own.is_file():
        return _parse(own.read_text(encoding="utf-8"))
    try:
        done = process.run(
            [config.program("pg_restore"), "--list", "--format=directory", str(dump)], env=client_environment()
        )
    except CommandError as error:
        raise NotProvenError(f"{dump} cannot be read: {error.completed.tail}", remedy="use another archive") from error
    return _parse(done.stdout)


def _parse(text: str) -> tuple[Entry, ...]:
    entries = []
    # Not splitlines: a name may hold what Python, but not pg_restore, takes for the end of a line.
    for line in text.split("\n"):
        if found := _ENTRY.match(line):
            entries.append(Entry(line, int(found[2]), int(found[3]), found[4]))
    return tuple(entries)


def write_list(path: Path, entries: Iterable[Entry]) -> None:
    """Write the entries for ``pg_restore --use-list``."""
    path.write_text("".join(f"{entry.line}\n" for entry in entries), encoding="utf-8")
