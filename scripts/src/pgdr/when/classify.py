"""Say of a transaction what it did to which table."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from pgdr.postgres.relations import OWN_SCHEMA
from pgdr.relationmap import FileOwner
from pgdr.when.collect import Transaction
from pgdr.when.model import Change, TableChange
from pgdr.when.names import Names, rewrites
from pgdr.when.records import ALTER, DELETE

_STORES_ROWS = frozenset({"r", "m"})
_TABLES = frozenset({"r", "p", "m"})
_SYSTEM = frozenset({"pg_catalog", "information_schema", "pg_toast"})


class Classifier:
    """Turns files into tables.

    Args:
        names: which file was which table.
        asked: database and OID of the tables that were asked for, empty for all.
    """

    def __init__(self, names: Names, asked: AbstractSet[tuple[int, int]]) -> None:
        self._names = names
        self._asked = asked

    def of_interest(self, transaction: Transaction, kinds: frozenset[Change]) -> bool:
        """Whether a transaction may be an answer, or helps to name files; asked for each one, so it is quick."""
        if transaction.structural:
            return True
        for kind, node in transaction.counts:
            if kind == ALTER:
                continue  # whose columns they were only a commit says
            if (Change.DELETE if kind == DELETE else Change.UPDATE) not in kinds:
                continue
            owner = self._names.of_node(node)
            if owner is None or self._is_asked(owner):
                return True
        return False

    def changes(self, transaction: Transaction) -> list[TableChange]:
        """What it did, by table, the tables that were asked for first."""
        found: dict[tuple[int, str], TableChange] = {}
        self._rows(transaction, found)
        self._files(transaction, found)
        self._drops(transaction, found)
        self._alters(transaction, found)
        return sorted(
            found.values(), key=lambda change: (not change.asked, -change.deleted - change.updated, change.table)
        )

    def _rows(self, transaction: Transaction, found: dict[tuple[int, str], TableChange]) -> None:
        for (kind, node), number in transaction.counts.items():
            if kind == ALTER:
                continue
            owner = self._names.of_node(node)
            if owner is not None and (owner.kind not in _STORES_ROWS or owner.schema in _SYSTEM):
                continue  # TOAST follows its table's rows
            change = self._unknown(found, node) if owner is None else self._change(found, owner)
            if kind == DELETE:
                change.deleted += number
            else:
                change.updated += number

    def _files(self, transaction: Transaction, found: dict[tuple[int, str], TableChange]) -> None:
        rewritten = rewrites(transaction)
        made = {node.rsplit("/", 1)[0] for node in transaction.created}
        for node in transaction.removed:
            owner = self._names.of_node(node)
            if owner is None or owner.kind not in _STORES_ROWS or owner.schema in _SYSTEM:
                continue
            if (owner.database_oid, owner.oid) in transaction.dropped and node not in transaction.created:
                continue
            change = self._change(found, owner)
            # Without a transient table and in the same tablespace, new files mean TRUNCATE.
            if rewritten or node.rsplit("/", 1)[0] not in made:
                change.rewritten = True
            else:
                change.truncated = True
                self._part(change, owner)
        for words in transaction.truncated:
            for oid in words.rpartition("relids")[2].strip(": ").split():
                for database in self._names.databases:
                    owner = self._names.of_oid(database, int(oid))
                    if owner is not None and owner.kind in _TABLES:
                        change = self._change(found, owner)
                        change.truncated = True
                        self._part(change, owner)

    def _drops(self, transaction: Transaction, found: dict[tuple[int, str], TableChange]) -> None:
        made = {tuple(node.split("/")[1:]) for node in transaction.created}
        unknown: list[tuple[int, int]] = []
        known = False
        for database, oid in transaction.dropped:
            owner = self._names.of_oid(database, oid)
            if owner is None:
                if (str(database), str(oid)) not in made:
                    unknown.append((database, oid))
                continue
            known = True
            if owner.kind in _TABLES and owner.schema not in _SYSTEM:
                change = self._change(found, owner)
                change.dropped = True
                self._part(change, owner)
        if unknown and not known:
            # Nobody remembers it: a table that lived shorter than an hour. Its indexes go with it.
            database, oid = unknown[-1]
            text = f"a relation nobody remembers (OID {oid}, {len(unknown)} with its indexes)"
            change = found.setdefault((database, text), self._new(database, text))
            change.dropped, change.known = True, False
        for database in transaction.dropped_databases:
            name = self._names.databases.get(database, f"with OID {database}")
            found[database, ""] = TableChange(table=f"the whole database {name}", database=name, dropped=True)

    def _alters(self, transaction: Transaction, found: dict[tuple[int, str], TableChange]) -> None:
        """Of what changed columns, its commit says which relations others must look at anew, not whose columns."""
        made = {tuple(node.split("/")[1:]) for node in transaction.created}
        for database in {int(node.split("/")[1]) for kind, node in transaction.counts if kind == ALTER}:
            doubtful = False
            changes = []
            for oid in transaction.altered:
                if (database, oid) in transaction.dropped:
                    continue
                owner = self._names.of_oid(database, oid)
                if (str(database), str(oid)) in made:
                    doubtful = doubtful or owner is None or owner.kind in _TABLES
                elif owner is not None and owner.kind in _TABLES and owner.schema not in _SYSTEM:
                    changes.append(self._change(found, owner))
                    self._part(changes[-1], owner)
            for change in changes:
                change.altered, change.doubtful = True, doubtful

    def _change(self, found: dict[tuple[int, str], TableChange], owner: FileOwner) -> TableChange:
        name = f"{owner.root_schema}.{owner.root_name}"
        change = found.setdefault((owner.database_oid, name), self._new(owner.database_oid, name))
        change.asked = change.asked or self._is_asked(owner)
        return change

    def _unknown(self, found: dict[tuple[int, str], TableChange], node: str) -> TableChange:
        database = int(node.split("/")[1])
        change = found.setdefault((database, node), self._new(database, f"file {node}"))
        change.known = False
        return change

    def _new(self, database: int, name: str) -> TableChange:
        return TableChange(table=name, database=self._names.databases.get(database, f"OID {database}"))

    def _is_asked(self, owner: FileOwner) -> bool:
        if not self._asked:
            # Our own bookkeeping is nobody's question.
            return owner.kind in _TABLES and owner.schema not in {OWN_SCHEMA, *_SYSTEM}
        return (owner.database_oid, owner.table_oid) in self._asked and owner.kind in _TABLES

    @staticmethod
    def _part(change: TableChange, owner: FileOwner) -> None:
        name = f"{owner.schema}.{owner.name}"
        if name != change.table and name not in change.parts:
            change.parts.append(name)
