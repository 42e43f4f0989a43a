"""The heartbeat as a ledger: a restore must hold exactly the beats that production had written by then."""

from __future__ import annotations

from datetime import UTC, datetime

from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import one
from pgdr.recovery.lsn import parse_lsn
from pgdr.recovery.verify import Check

_NAME = "heartbeat ledger"
_BEATS = "select id, beat_at, lsn::text from pgdr.heartbeat order by id"

_Beats = dict[int, tuple[datetime, int]]


def compare(there: HostConfig, production: HostConfig, reached_lsn: str) -> Check:
    """Hold the beats of a restored database against those of the live one.

    Args:
        there: the restored instance.
        production: the live cluster, which may be down.
        reached_lsn: where the restore stands.
    """
    restored = _beats(there)
    try:
        live = _beats(production)
    except PgdrError as error:
        newest = max((at for at, _ in restored.values()), default=None) if restored else None
        detail = f"nothing to compare with ({error.message}); newest beat {newest}"
        return Check(name=_NAME, ok=False, detail=detail, fatal=False)
    if live is None:
        return Check(name=_NAME, ok=False, detail="production has none: pgdr heartbeat --init", fatal=False)
    return judge(restored or {}, live, parse_lsn(reached_lsn))


def judge(restored: _Beats, live: _Beats, reached: int) -> Check:
    """Decide, given the beats of both by number: when, and where WAL stood.

    The live ledger forgets what is older than some days, so only beats from its first on count. A beat's position is
    that of its writing, just before its commit: the last one before the end may rightly be missing.
    """
    begin = min(live, default=0)
    held = {number: beat for number, beat in restored.items() if number >= begin}
    due = {number: beat for number, beat in live.items() if beat[1] < reached}
    missing = sorted(due.keys() - held.keys())
    if missing and missing[-1] == max(due):
        missing.pop()
    other = sorted(number for number, beat in held.items() if live.get(number) != beat or beat[1] > reached)
    if missing:
        return Check(name=_NAME, ok=False, detail=f"{len(missing)} beats are missing, first number {missing[0]}")
    if other:
        return Check(name=_NAME, ok=False, detail=f"{len(other)} beats are not production's, first number {other[0]}")
    last = max((at for at, _ in held.values()), default=None)
    until = f", the last of {last:%Y-%m-%d %H:%M:%S} UTC" if last else ""
    return Check(name=_NAME, ok=True, detail=f"{len(held)} beats, all as production wrote them{until}")


def _beats(config: HostConfig) -> _Beats | None:
    with connected(config, application_name="pgdr rehearse") as connection:
        if not _exists(connection):
            return None
        rows = connection.execute(_BEATS).fetchall()
    return {row[0]: (row[1].astimezone(UTC), parse_lsn(row[2])) for row in rows}


def _exists(connection: Connection[TupleRow]) -> bool:
    return bool(one(connection, "select to_regclass('pgdr.heartbeat') is not null")[0])
