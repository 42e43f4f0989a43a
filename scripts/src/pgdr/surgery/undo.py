"""Take an operation back: the rows that it wrote go, the rows that it removed return.

Only what still stands as the operation left it is touched. If a row was changed since, the undo is refused: somebody
has worked on it, and that work would be lost. An undo is an operation itself and can be undone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import Rollback, sql

from pgdr.errors import NotProvenError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres import stream
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.surgery import apply, diff, images, numbering, operation, staging
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.conflicts import Ground, prepare
from pgdr.surgery.diff import Mode
from pgdr.surgery.drift import StagedColumn
from pgdr.surgery.model import Schema, Table
from pgdr.surgery.operation import Outcome
from pgdr.surgery.plan import Plan, table_plans
from pgdr.surgery.source import APPLICATION, SETTINGS
from pgdr.surgery.staging import Stage


def undo(
    config: HostConfig, name: str, *, plan_only: bool = False, lock_timeout: str = "10s"
) -> tuple[Plan, Outcome | None, str]:
    """Undo a committed operation in the database where it was made.

    Returns:
        the plan, what was done, and the id of the new operation.

    Raises:
        RefusedError: no such operation, not committed, tables changed, or rows changed since.
        NotProvenError: a file of its image is damaged.
        PgdrError: anything else; nothing was changed.
    """
    manifest, folder = images.load_manifest(config, name)
    for table in manifest.tables:
        images.verify_file(folder, table.before)
        images.verify_file(folder, table.after)
    with connected(config, manifest.database, application_name=APPLICATION, settings=SETTINGS) as live:
        try:
            return _undo(config, live, manifest, folder, plan_only=plan_only, lock_timeout=lock_timeout)
        except psycopg.Error as error:
            raise apply.in_words(error, lock_timeout) from error


def _undo(
    config: HostConfig,
    live: Connection[TupleRow],
    manifest: images.Manifest,
    folder: Path,
    *,
    plan_only: bool,
    lock_timeout: str,
) -> tuple[Plan, Outcome | None, str]:
    state = images.state_of(live, manifest, folder)
    if state != "committed":
        raise RefusedError(f"operation {manifest.operation} is {state}, not committed", remedy="nothing was changed")
    outcome: Outcome | None = None
    name, new_folder = "", None
    with live.transaction():
        operation.begin(live, lock_timeout, alone=not plan_only)
        prepare(live)
        schema = read_schema(live)
        ground = Ground(schema)
        for number, image in enumerate(manifest.tables, start=1):
            stage = _stage(schema, number, image)
            ground.stages[stage.table.oid] = stage
        numbers = numbering.to_undo(live, manifest.sequences, gate=not plan_only)
        if not plan_only:
            apply.hold_tables(live, [stage.table for stage in ground.stages.values()])
        changed = [what for image in manifest.tables if (what := _fill(live, ground, folder, image))]
        for stage in ground.stages.values():
            diff.compare(live, stage, Mode.EXACT)
        plan = Plan(
            subject=manifest.subject,
            source=f"before operation {manifest.operation}",
            mode=Mode.EXACT,
            tables=table_plans(live, ground),
            conflicts=tuple(operation.ask_all(live, ground)),
            blockers=tuple(changed),
            notes=tuple(numbers.notes),
            sequences=numbers.plans,
        )
        if plan_only:
            raise Rollback
        if not plan.ready:
            raise RefusedError(
                str((*plan.blockers, *plan.conflicts)[0]),
                remedy="somebody has worked on these rows since; nothing was changed",
            )
        name, new_folder = images.new_operation(config)
        moved = numbering.carry_out(live, numbers.changes)
        outcome = operation.carry_out(
            live,
            ground,
            None,
            folder=new_folder,
            save_manifest=lambda xid, saved: images.save_manifest(
                new_folder, _manifest(live, manifest, name, xid, saved, tuple(numbers.changes))
            ),
        ).also(moved)
    if new_folder is not None and outcome is not None:
        images.mark_committed(new_folder)
    return plan, outcome, name


def _manifest(
    live: Connection[TupleRow],
    old: images.Manifest,
    name: str,
    xid: str,
    saved: tuple[images.TableImage, ...],
    numbers: tuple[numbering.Change, ...],
) -> images.Manifest:
    return images.Manifest(
        operation=name,
        kind="undo",
        subject=old.subject,
        source=f"before operation {old.operation}",
        database=old.database,
        cluster=images.cluster_now(live),
        transaction=xid,
        at=datetime.now(UTC),
        undoes=old.operation,
        tables=saved,
        sequences=numbers,
    )


def _stage(schema: Schema, number: int, image: images.TableImage) -> Stage:
    table = schema.find(image.schema_name, image.table)
    if table is None:
        raise RefusedError(
            f"table {image.schema_name}.{image.table} is gone since the operation", remedy="nothing was changed"
        )
    if tuple(column.name for column in table.columns) != image.columns:
        raise RefusedError(
            f"the columns of {table.label} have changed since the operation", remedy="nothing was changed"
        )
    return Stage(number, table, table, tuple(StagedColumn(column, column.name) for column in table.columns))


def _fill(live: Connection[TupleRow], ground: Ground, folder: Path, image: images.TableImage) -> str:
    """Stage both sides of a table; returns what is in the way, or nothing."""
    table = ground.schema.find(image.schema_name, image.table)
    if table is None:
        raise NotProvenError(f"{image.table} was found a moment ago")
    stage = ground.stages[table.oid]
    names = sql.SQL(", ").join(stage.all_names)
    staging.create(live, stage)
    stream.load(live, stage.past, names, images.read_rows(folder, image.before))
    staging.analyze(live, stage.past)
    gone = sql.Identifier("pg_temp", f"pgdr_gone_{stage.number}")
    live.execute(
        sql.SQL("create temp table {} (like {}) on commit drop").format(
            sql.Identifier(f"pgdr_gone_{stage.number}"), stage.past
        )
    )
    live.execute(
        sql.SQL("alter table {} alter column n set default nextval({}::regclass)").format(gone, staging.NUMBERS)
    )
    stream.load(live, gone, names, images.read_rows(folder, image.after))
    staging.analyze(live, gone)
    found = live.execute(_match(stage, gone, table, set(image.unknown))).rowcount
    staging.analyze(live, stage.live)
    if found != image.after.rows:
        return f"{table.label}: {image.after.rows - found} rows are not as the operation left them"
    return ""


def _match(stage: Stage, gone: sql.Identifier, table: Table, unknown: set[str]) -> sql.Composed:
    """Find the rows that the operation wrote, as they stand now; the same content, one for one."""
    known = [
        (sql.SQL("s.{}").format(name), sql.Identifier("t", one.column.name))
        for one, name in zip(stage.columns, stage.all_names, strict=True)
        if one.column.name not in unknown and not one.column.generated
    ]
    written = sql.SQL("row({})::text").format(sql.SQL(", ").join(left for left, _ in known))
    standing = sql.SQL("row({})::text").format(sql.SQL(", ").join(right for _, right in known))
    targets = sql.SQL(", ").join([*stage.all_names, sql.SQL("tab, tid")])
    values = sql.SQL(", ").join(
        [*(sql.Identifier("t", one.column.name) for one in stage.columns), sql.SQL("t.tableoid, t.ctid")]
    )
    if stage.key:
        match = sql.SQL(" and ").join(
            part.operator.apply(
                sql.SQL("s.{}").format(stage.name_of(part.column or "")), sql.Identifier("t", part.column or "")
            )
            for part in stage.key
        )
        return sql.SQL(
            "insert into {live} ({targets}) select {values} from {gone} as s join {rows} as t on {match}"
            " where {written} = {standing}"
        ).format(
            live=stage.live,
            targets=targets,
            values=values,
            gone=gone,
            rows=table.rows,
            match=match,
            written=written,
            standing=standing,
        )
    return sql.SQL(
        "insert into {live} ({targets}) select {values} from"
        " (select {written} as img, row_number() over (partition by {written}) as copy"
        "  from {gone} as s) as w join"
        " (select t.tableoid as tab, t.ctid as tid, {standing} as img,"
        "  row_number() over (partition by {standing}) as copy"
        "  from {rows} as t where {standing} in (select {written} from {gone} as s)) as x"
        " on x.img = w.img and x.copy = w.copy join {rows} as t on t.tableoid = x.tab and t.ctid = x.tid"
    ).format(
        live=stage.live,
        targets=targets,
        values=values,
        gone=gone,
        rows=table.rows,
        written=written,
        standing=standing,
    )
