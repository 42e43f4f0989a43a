"""The question asked of files, server, WAL and repositories: what is damaged, since when, what cures it.

Evidence first. Nothing is written in the data directory by it; with ``install`` the server is asked to make extensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from pgdr.corruption import asked, backups, control, wal
from pgdr.corruption.control import Condition
from pgdr.corruption.evidence import Evidence, log_files, log_lines
from pgdr.corruption.files import BadPage, DataFile, Node, PagesRead, data_files, read_pages, still_bad
from pgdr.corruption.model import Damage, Findings, Kind
from pgdr.corruption.naming import APPLICATION, Names, read_names
from pgdr.errors import PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import Connection, TupleRow, connected

_SEGMENT_PAGES = 131072
_IN_MEMORY = {Kind.HEAP, Kind.CATALOG, Kind.TOAST, Kind.SEQUENCE}

Told = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How deep it goes.

    Attributes:
        databases: only these; empty for all.
        thorough: hold every row against every index.
        install: make amcheck and pg_visibility where they are missing.
        pages: read every page from the files.
        logs: more logs of the server.
        jobs: how much is done at once.
    """

    databases: tuple[str, ...] = ()
    thorough: bool = False
    install: bool = False
    pages: bool = True
    logs: tuple[Path, ...] = ()
    jobs: int = 1


@dataclass
class Examined:
    """Findings, and what a cure needs of how they were found.

    Attributes:
        findings: what was found.
        condition: the state of the cluster.
        bad: the pages that are wrong on disk.
        segment_pages: pages of a full file.
    """

    findings: Findings
    condition: Condition
    bad: list[BadPage] = field(default_factory=list)
    segment_pages: int = _SEGMENT_PAGES


def examine(
    config: HostConfig,
    client: PgBackRest,
    options: Options,
    *,
    evidence: Evidence | None = None,
    told: Told = lambda _line: None,
) -> Examined:
    """Look at everything.

    Raises:
        RefusedError: there is no cluster, or no database of a name that was given.
    """
    if not (config.data_directory / "PG_VERSION").exists():
        raise RefusedError(
            f"{config.data_directory} holds no cluster", remedy="bring it back: playbooks/dr-restore.yml"
        )
    findings = Findings(at=datetime.now(UTC))
    findings.log = log_lines(log_files(config, options.logs))
    condition = control.look(config)
    findings.server, findings.running = condition.line, condition.running
    findings.checksums, findings.standbys = condition.checksums, list(condition.standbys)
    if evidence is not None:
        evidence.first(findings.log, condition.line)
    result = Examined(findings, condition)
    if condition.control is not None:
        result.segment_pages = condition.control.segment_pages
    names = read_names(config, running=condition.running)
    findings.unseen += [f"names from {what}" for what in names.failed]
    _require_databases(options.databases, names, condition)
    found = condition.damages
    if options.pages:
        found += _read(config, options, result, names, told)
    found += _asked(config, options, condition, names, findings, told)
    found += wal.look(config, client, condition)
    findings.harmless += [
        f"{one.subject}: {one.detail}; the catalogs of this moment do not know it"
        for one in found
        if _is_harmless(one, names, condition)
    ]
    found = [one for one in found if not _is_harmless(one, names, condition)]
    told("asking the repositories")
    findings.backups, unseen = backups.read_sets(client)
    findings.unseen += unseen
    findings.damages = backups.with_since(
        [_readable(config, one, condition) for one in merged(found)], findings.backups
    )
    if evidence is not None:
        evidence.pages(result.bad, findings.damages, result.segment_pages)
        evidence.document(findings)
    return result


def _is_harmless(damage: Damage, names: Names, condition: Condition) -> bool:
    """Nothing of it is anybody's data; a file of nobody only where all catalogs could be asked."""
    return damage.kind is Kind.FILE and condition.running and not names.failed


def _require_databases(wanted: Sequence[str], names: Names, condition: Condition) -> None:
    missing = sorted(set(wanted) - set(names.databases.values()))
    if missing and condition.running:
        raise RefusedError(
            f"no database {', '.join(map(repr, missing))}", remedy=f"there are: {', '.join(names.databases.values())}"
        )


def _read(config: HostConfig, options: Options, result: Examined, names: Names, told: Told) -> list[Damage]:
    """Every page from the files."""
    condition, findings = result.condition, result.findings
    if not condition.checksums:
        findings.unseen.append(
            "pages carry no checksums: of each only its header was looked at (initdb --data-checksums)"
        )
    wanted = [one for one in data_files(config.data_directory) if _meant(one, options.databases, names)]
    read = PagesRead(0, [])
    read = read_pages(
        wanted,
        checksums=condition.checksums,
        segment_pages=result.segment_pages,
        jobs=options.jobs,
        told=lambda count: told(f"{count} pages read"),
    )
    findings.pages = read.count
    result.bad = read.bad
    return [*_of_pages(config, read.bad, names), *_missing(config, wanted, names, condition, options.databases)]


def _meant(file: DataFile, databases: Sequence[str], names: Names) -> bool:
    return not databases or not file.node.database or names.databases.get(file.node.database) in databases


def _of_pages(config: HostConfig, bad: Sequence[BadPage], names: Names) -> Iterable[Damage]:
    by_node: dict[Node, list[BadPage]] = {}
    for one in bad:
        by_node.setdefault(one.node, []).append(one)
    for node, pages in by_node.items():
        owner = names.of(node)
        blocks = tuple(sorted(page.block for page in pages))
        what = ", ".join(sorted({page.what for page in pages}))
        if owner is not None:
            yield asked.damage_of(owner, node, blocks, what, page_hit=True)
        else:
            path = str(pages[0].path)
            name = path.removeprefix(f"{config.data_directory}/")
            why = f"{what}; no relation is known that has this file"
            yield Damage(Kind.FILE, name, why, file=name, blocks=blocks, page_hit=True)


def _missing(
    config: HostConfig, files: Sequence[DataFile], names: Names, condition: Condition, databases: Sequence[str]
) -> Iterable[Damage]:
    """Relations whose file is not there at all."""
    if not condition.running:
        return
    there = {one.node for one in files}
    for node, owner in names.owners.items():
        if node.number and node not in there and (not databases or owner.database in databases):
            damage = asked.damage_of(owner, node, (), "its file is not there")
            path = config.data_directory / damage.file
            if "/PG/" not in damage.file and not path.exists() and _has_file(config, damage):
                yield damage


def _has_file(config: HostConfig, damage: Damage) -> bool:
    """Whether the catalog still gives it this file: it may have been rewritten or dropped since it was asked."""
    try:
        with connected(config, damage.database or "postgres", application_name=APPLICATION) as connection:
            row = connection.execute("select pg_catalog.pg_relation_filepath(%s::oid)", (damage.oid,)).fetchone()
    except PgdrError:
        return False
    return row is not None and row[0] == damage.file


def _asked(
    config: HostConfig, options: Options, condition: Condition, names: Names, findings: Findings, told: Told
) -> list[Damage]:
    if not condition.running:
        findings.unseen.append("the server does not answer: relations were not held against each other")
        return []
    told("having the server look at its indexes, tables and maps")
    databases = [name for name in names.databases.values() if name != "template0"]
    found = asked.ask(
        config,
        names,
        list(options.databases) or databases,
        thorough=options.thorough,
        install=options.install and not condition.in_recovery,
        jobs=options.jobs,
    )
    findings.unseen += found.unseen
    findings.checked = found.checked
    return found.damages


def merged(found: Iterable[Damage]) -> list[Damage]:
    """One damage a thing, however many looked at it and found something."""
    by_thing: dict[tuple[str, str, int, str], Damage] = {}
    for one in found:
        key = (one.kind, one.database, one.oid, "" if one.oid else one.name)
        if key not in by_thing:
            by_thing[key] = one
            continue
        other = by_thing[key]
        details = dict.fromkeys([other.detail, *([] if one.detail in other.detail else [one.detail])])
        by_thing[key] = replace(
            other,
            blocks=tuple(sorted({*other.blocks, *one.blocks})),
            detail="; ".join(details),
            page_hit=other.page_hit or one.page_hit,
        )
    return list(by_thing.values())


def _readable(config: HostConfig, damage: Damage, condition: Condition) -> Damage:
    """Ask the server for the damaged pages of a table: it may have them in memory, as they should be."""
    if not condition.running or condition.in_recovery or not damage.page_hit or damage.kind not in _IN_MEMORY:
        return damage
    try:
        with connected(config, damage.database or "postgres", application_name=APPLICATION) as connection:
            for block in damage.blocks:
                read_block(connection, damage.oid, block)
    except (psycopg.Error, PgdrError):
        return damage
    return replace(damage, readable=True)


def read_block(connection: Connection[TupleRow], oid: int, block: int) -> int:
    """Have the server read one block of a table and return how many rows it sees there.

    Raises:
        psycopg.Error: it cannot be read.
    """
    counted = connection.execute(
        sql.SQL("select count(*) from only {} where {}").format(named(connection, oid), in_block(block))
    ).fetchone()
    return int(counted[0]) if counted else 0


def named(connection: Connection[TupleRow], oid: int) -> sql.Identifier:
    """A relation's name as it is now, by its number.

    Raises:
        RefusedError: there is none any more.
    """
    row = connection.execute(
        "select n.nspname, c.relname from pg_catalog.pg_class c"
        " join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = %s",
        (oid,),
    ).fetchone()
    if row is None:
        raise RefusedError(f"relation {oid} is gone", remedy="examine again")
    return sql.Identifier(row[0], row[1])


def in_block(first: int, last: int | None = None) -> sql.Composed:
    """The condition that a row stands in a block, or in one of a row of blocks."""
    end = (first if last is None else last) + 1
    return sql.SQL("ctid >= {} and ctid < {}").format(sql.Literal(f"({first},0)"), sql.Literal(f"({end},0)"))


def bad_now(examined: Examined) -> list[BadPage]:
    """Pages that are wrong on disk still."""
    return still_bad(examined.bad, checksums=examined.condition.checksums, segment_pages=examined.segment_pages)
