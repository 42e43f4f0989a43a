"""Which file was which table: the catalog of now, the host's memory, and what WAL itself tells."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pgdr.errors import RefusedError
from pgdr.relationmap import FileOwner
from pgdr.when.collect import Transaction

_TABLES = frozenset({"r", "p", "m"})


class Names:
    """Knows files and relations by number.

    Args:
        owners: what is known, what counts more at the end.
    """

    def __init__(self, owners: Iterable[FileOwner]) -> None:
        self._nodes: dict[str, FileOwner] = {}
        self._oids: dict[tuple[int, int], FileOwner] = {}
        self.databases: dict[int, str] = {}
        for owner in owners:
            if owner.filenode:
                self._nodes[owner.node] = owner
            self._oids[owner.database_oid, owner.oid] = owner
            self.databases[owner.database_oid] = owner.database

    def of_node(self, node: str) -> FileOwner | None:
        """The relation that a file belongs to."""
        return self._nodes.get(node)

    def of_oid(self, database: int, oid: int) -> FileOwner | None:
        """The relation with an OID."""
        return self._oids.get((database, oid))

    def files_of(self, schema: str, name: str) -> tuple[int, ...]:
        """Numbers of all files that a relation of this name is known to have had, in any database."""
        return tuple({one.filenode for one in self._nodes.values() if (one.schema, one.name) == (schema, name)})

    def tables(self, asked: Sequence[str], database: str) -> set[tuple[int, int]]:
        """Find tables by name, with all that belongs to them.

        Args:
            asked: ``schema.table`` each, as it is or quoted as SQL would.
            database: the database that they are in.

        Returns:
            database and OID of each table and its partitions.

        Raises:
            RefusedError: there is and was no such table, as far as this host knows.
        """
        found: set[tuple[int, int]] = set()
        known: dict[str, set[tuple[int, int]]] = {}
        for key, owner in self._oids.items():
            if owner.kind in _TABLES and owner.database == database:
                for schema, name in ((owner.schema, owner.name), (owner.root_schema, owner.root_name)):
                    for text in {f"{schema}.{name}", f"{_quoted(schema)}.{_quoted(name)}"}:
                        known.setdefault(text, set()).add(key)
        for text in asked:
            if text not in known:
                near = difflib.get_close_matches(text, known, n=3) or ["pgdr when --kind drop lists what was dropped"]
                raise RefusedError(
                    f"no table {text!r} is known in database {database}: the catalog has none, and this host "
                    "remembers none",
                    remedy=f"write schema.table; {', '.join(near)}",
                )
            found |= known[text]
        return found

    def learn(self, transactions: Iterable[Transaction]) -> None:
        """Connect old and new files of tables that were emptied or rewritten.

        TRUNCATE makes files in the order table, TOAST, indexes, and removes the old ones in the reverse order
        (storage.c keeps a stack); VACUUM FULL, CLUSTER and ALTER TABLE make a transient table and remove the old files
        in the order of the new ones. Files that a transaction made and removed again were steps in between.
        """
        pairs = [pair for transaction in transactions for pair in _replaced(transaction)]
        for old, new in reversed(pairs):
            self._same(new, old)
        for old, new in pairs:
            self._same(old, new)

    def _same(self, known: str, unknown: str) -> None:
        owner = self._nodes.get(known)
        if owner is not None and unknown not in self._nodes:
            self._nodes[unknown] = owner


def _replaced(transaction: Transaction) -> list[tuple[str, str]]:
    """Old and new file of each relation that a transaction gave a new one."""
    both = set(transaction.created) & set(transaction.removed)
    created = [node for node in transaction.created if node not in both]
    removed = [node for node in transaction.removed if node not in both]
    if not created or len(created) != len(removed):
        return []
    return list(zip(removed if rewrites(transaction) else reversed(removed), created, strict=True))


def rewrites(transaction: Transaction) -> bool:
    """Whether a transaction dropped a relation that it had made: the transient table of a rewrite."""
    made = {(node.split("/")[1], node.split("/")[2]) for node in transaction.created}
    return any((str(database), str(oid)) in made for database, oid in transaction.dropped)


def _quoted(name: str) -> str:
    """A name as format('%I') writes it, but for keywords."""
    plain = name.replace("_", "a").isalnum() and name.isascii() and name == name.lower() and not name[0].isdigit()
    doubled = name.replace('"', '""')
    return name if plain else f'"{doubled}"'
