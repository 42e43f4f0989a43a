"""What restore, undo and erasure have in common: one transaction from the staged rows to the proof."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pgdr.errors import BusyError, OperationFailedError, RefusedError
from pgdr.fingerprint_model import TableSum
from pgdr.policy.tenancy import Hook
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import in_recovery, one
from pgdr.surgery import apply, checks, images, sequences
from pgdr.surgery.conflicts import Conflict, Ground, ask, findings, give_way
from pgdr.surgery.diff import WRITTEN, Kind
from pgdr.surgery.scope import Scope

_ADVISORY = "select pg_try_advisory_xact_lock(hashtextextended('pgdr surgery', 0))"
_ROUNDS = 100
_MANY = 10_000

SaveManifest = Callable[[str, tuple[images.TableImage, ...]], None]


@dataclass(frozen=True)
class Outcome:
    """What was done.

    Attributes:
        changed: rows written and removed, by the server's count.
        references: foreign keys that were checked.
        sums: rows and checksum of each table in scope afterwards; of what was written, where there is no scope.
        sequences: sequences that were moved on, made again or removed.
    """

    changed: int
    references: int
    sums: dict[str, TableSum] = field(default_factory=dict)
    sequences: tuple[str, ...] = ()

    def also(self, sequences: tuple[str, ...]) -> Outcome:
        """The same with sequences of the tenant's own."""
        return replace(self, sequences=tuple(dict.fromkeys((*self.sequences, *sequences))))


def begin(connection: Connection[TupleRow], lock_timeout: str, *, alone: bool) -> None:
    """Prepare a transaction.

    Raises:
        RefusedError: the server is a standby, or the time is none.
        BusyError: other surgery goes on in this database.
    """
    if in_recovery(connection):
        raise RefusedError("this server is in recovery and takes no writes", remedy="run it on the primary")
    connection.execute("select set_config('lock_timeout', %s, true)", (lock_timeout,))
    if alone and not one(connection, _ADVISORY)[0]:
        raise BusyError("other row surgery goes on in this database", remedy="nothing was changed; run again later")


def settle(connection: Connection[TupleRow], ground: Ground) -> list[Conflict]:
    """Leave every row that is in trouble as it is today, until no row is.

    Returns:
        what was in the way.
    """
    settled: list[Conflict] = []
    for _ in range(_ROUNDS):
        moved = 0
        for finding in findings(connection, ground):
            conflict = ask(connection, finding)
            if conflict is not None and (gave := give_way(connection, finding)):
                settled.append(conflict)
                moved += gave
                ground.forget()
        if not moved:
            return settled
    raise OperationFailedError("conflicts breed conflicts without an end", remedy="nothing was changed; see --plan")


def ask_all(connection: Connection[TupleRow], ground: Ground) -> list[Conflict]:
    """All conflicts that are there."""
    return [found for finding in findings(connection, ground) if (found := ask(connection, finding)) is not None]


@contextmanager
def _in_bulk(connection: Connection[TupleRow], ground: Ground) -> Iterator[None]:
    """Questions about many rows that were just written, which the planner's statistics do not know of.

    It takes such a table for empty and looks at all of it once for each row: a million rows would never end. Of few
    rows that is the best way, of many one walk through each table is.
    """
    written = sum(
        number
        for stage in ground.stages.values()
        for kind, number in ground.count(connection, stage).items()
        if kind in WRITTEN
    )
    if written <= _MANY:
        yield
        return
    connection.execute("set local enable_nestloop = off")
    yield
    connection.execute("set local enable_nestloop = on")


def carry_out(
    connection: Connection[TupleRow],
    ground: Ground,
    scope: Scope | None,
    *,
    folder: Path | None,
    save_manifest: SaveManifest | None = None,
    hooks: Iterable[Hook] = (),
    tenant: str = "",
) -> Outcome:
    """Change the rows and prove it; the caller commits.

    Args:
        connection: in the transaction in which all was staged and compared.
        ground: what was staged.
        scope: read again at the end and compared with the plan; ``None`` where others write the same tables: then only
            what was written is read again.
        folder: where the before-image goes; ``None`` where none may be kept.
        save_manifest: called with transaction id and images when all is proven.
        hooks: the policy's statements.
        tenant: for the hooks.

    Raises:
        PgdrError: something was not as planned; the caller rolls back.
    """
    hooks = list(hooks)
    exempt: dict[int, set[str]] = {}
    for hook in hooks:
        for named in hook.tables:
            table = ground.schema.find(named.schema_, named.table)
            if table is not None:
                exempt.setdefault(table.oid, set()).update(named.columns)
    before = checks.counters(connection)
    saved = []
    if folder is not None:
        changing = [
            stage
            for stage in ground.stages.values()
            if any(
                n
                for kind, n in ground.count(connection, stage).items()
                if kind not in {Kind.SAME, Kind.KEEP, Kind.SKIP}
            )
        ]
        images.require_space(connection, changing, folder)
        saved = [images.save_table(connection, stage, folder) for stage in changing]
    apply.become_replica(connection)
    apply.change(connection, ground)
    with _in_bulk(connection, ground):
        apply.hold_parents(connection, ground)
    apply.run_hooks(connection, tenant, [(hook.name, hook.sql) for hook in hooks])
    with _in_bulk(connection, ground):
        references = checks.references_hold(connection, ground)
    checks.deferrable_rules_hold(connection, ground)
    sums = {}
    for stage in ground.stages.values():
        if scope is None:
            if ground.has(connection, stage, WRITTEN):
                sums[stage.table.label] = checks.written_stand(connection, stage)
        elif stage.scoped:
            without = exempt.get(stage.table.oid, set())
            sums[stage.table.label] = checks.content_is_planned(connection, stage, scope, without)
    moved = [name for stage in ground.stages.values() for name in sequences.move_on(connection, stage)]
    changed = checks.only_planned(connection, ground, before, exempt)
    if save_manifest is not None:
        save_manifest(str(one(connection, "select pg_current_xact_id()::text")[0]), tuple(saved))
    return Outcome(changed, references, sums, tuple(moved))
