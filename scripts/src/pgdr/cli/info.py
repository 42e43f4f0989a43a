"""``pgdr info``: what the repositories hold, and what can be recovered from each."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode, PgdrError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.pgbackrest.info import Backup, Repository, StanzaInfo
    from pgdr.restorepoint import RestorePoint

app = typer.Typer(rich_markup_mode=None)

_COLUMNS = ("backup", "type", "start (UTC)", "stop (UTC)", "size", "stored", "WAL", "damaged")


@app.command()
def info(
    context: typer.Context,
    repo: Annotated[int | None, typer.Option("--repo", min=1, help="This repository only.")] = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--output", help="table for people, json for scripts.")
    ] = OutputFormat.TABLE,
) -> None:
    """Show the backups and the recoverable window of each repository.

    The exit code is not 0 when a repository cannot be read or holds no backup, and 5 when a backup has page
    checksum errors; pgBackRest's own info command ends with 0 in all these cases. Where this host's journal cannot
    be read, all but the restore points is shown.

    \b
    Example:
      pgdr info --repo 2 --output json
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415 - start-up time, see main

    host = invocation(context).host
    client = PgBackRest(host)
    places = {item.key: item.place for item in client.repositories}
    found = client.info(repo)
    points, unknown = _points(host)
    if output_format is OutputFormat.JSON:
        named = None if unknown else [_point(item) for item in points]
        output.json_result({**document(found, places), "restore_points": named})
    else:
        for repository in found.repo:
            _show(found, repository, places.get(repository.key, "?"))
        if points:
            rows = [(p.name, f"{p.at:%Y-%m-%d %H:%M:%S}", p.lsn, str(p.timeline)) for p in points]
            output.table(("restore point", "made (UTC)", "LSN", "timeline"), rows, right=frozenset({"timeline"}))
    code = _verdict(found)
    if unknown:
        output.error(f"the restore points are not known: {unknown}")
        code = code or int(unknown.exit_code)
    raise typer.Exit(code)


def _points(host: HostConfig) -> tuple[list[RestorePoint], PgdrError | None]:
    """The restore points; a journal that cannot be read must not hide what can be restored."""
    from pgdr import restorepoint  # noqa: PLC0415 - start-up time, see main

    try:
        return restorepoint.known(host), None
    except PgdrError as error:
        return [], error


def _point(item: RestorePoint) -> dict[str, Any]:
    return {"name": item.name, "at": _time(item.at), "lsn": item.lsn, "timeline": item.timeline}


def document(found: StanzaInfo, places: dict[int, str]) -> dict[str, Any]:
    """Write the answer as the JSON document of ``pgdr info --output json``."""
    return {
        "stanza": found.name,
        "status": {"code": found.status.code, "meaning": found.status.meaning},
        "backup_running": found.status.lock.backup.held,
        "repositories": [
            {
                "key": repository.key,
                "place": places.get(repository.key),
                "cipher": repository.cipher,
                "status": {"code": repository.status.code, "meaning": repository.status.meaning},
                "database": _database(found, repository.key),
                "archive": _archive(found, repository.key),
                "recoverable": _window(found, repository.key),
                "backups": [_backup(item) for item in found.backups(repository.key)],
            }
            for repository in found.repo
        ],
    }


def _database(found: StanzaInfo, key: int) -> dict[str, Any] | None:
    current = found.database(key)
    return None if current is None else {"system_identifier": str(current.system_id), "version": current.version}


def _archive(found: StanzaInfo, key: int) -> dict[str, Any] | None:
    archive = found.current_archive(key)
    return None if archive is None else {"id": archive.id, "min": archive.min, "max": archive.max}


def _window(found: StanzaInfo, key: int) -> dict[str, Any] | None:
    """From the moment when the oldest undamaged set became consistent to the end of the archived WAL."""
    current = found.database(key)
    archive = found.current_archive(key)
    if current is None or archive is None:
        return None
    sets = [b for b in found.backups(key) if b.database.id == current.id and not b.error]
    if not sets:
        return None
    return {"from": _time(sets[0].stopped), "from_backup": sets[0].label, "to_wal": archive.max}


def _backup(item: Backup) -> dict[str, Any]:
    return {
        "label": item.label,
        "type": item.type,
        "prior": item.prior,
        "reference": list(item.reference or ()),
        "started": _time(item.started),
        "stopped": _time(item.stopped),
        "size": item.info.size,
        "copied": item.info.delta,
        "repository_size": item.info.repository.size,
        "repository_delta": item.info.repository.delta,
        "wal": {"start": item.archive.start, "stop": item.archive.stop},
        "lsn": {"start": item.lsn.start, "stop": item.lsn.stop},
        "damaged": bool(item.error),
        "annotation": item.annotation or {},
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _show(found: StanzaInfo, repository: Repository, place: str) -> None:
    output.result(f"repository {repository.key}, {place}, cipher {repository.cipher}: {repository.status.meaning}")
    backups = found.backups(repository.key)
    if backups:
        output.table(_COLUMNS, [_row(item) for item in backups], right=frozenset({"size", "stored"}))
    archive = found.current_archive(repository.key)
    if archive is not None and archive.max is not None:
        output.result(f"archived WAL: {archive.min} to {archive.max} (history {archive.id})")
    window = _window(found, repository.key)
    if window is not None:
        output.result(f"recoverable: from {window['from']} to the end of WAL {window['to_wal']}")
    output.result("")


def _row(item: Backup) -> tuple[str, ...]:
    return (
        item.label,
        item.type,
        f"{item.started:%Y-%m-%d %H:%M:%S}",
        f"{item.stopped:%Y-%m-%d %H:%M:%S}",
        output.bytes_text(item.info.size),
        output.bytes_text(item.info.repository.delta),
        _range(item),
        "YES" if item.error else "no",
    )


def _range(item: Backup) -> str:
    start, stop = item.archive.start or "-", item.archive.stop or "-"
    return start if start == stop else f"{start}..{stop}"


def _verdict(found: StanzaInfo) -> int:
    """Say what is not well, one line each, and return the code of the first."""
    codes: list[ExitCode] = []
    for repository in found.repo:
        if repository.status.code != 0:
            error = repository.status.as_error(f"repository {repository.key}")
            output.error(str(error))
            codes.append(error.exit_code)
    if not found.repo:
        error = found.status.as_error(f"stanza {found.name}")
        output.error(str(error))
        codes.append(error.exit_code)
    damaged = [f"{item.label} in repository {item.repository}" for item in found.backup if item.error]
    if damaged:
        output.error(f"page checksum errors in {', '.join(damaged)}: the database was damaged when it was taken")
        codes.append(ExitCode.NOT_PROVEN)
    return int(codes[0]) if codes else int(ExitCode.OK)
