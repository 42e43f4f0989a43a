"""Smoke queries on a real server: right and wrong answers, and a query that would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgdr.errors import UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import SmokeQuery
from pgdr.recovery.smoke import ask


@pytest.fixture
def host(pg16: Any, tmp_path: Path) -> HostConfig:
    """A server with a database that has one table."""
    database = pg16.create_database("smoke")
    pg16.execute("CREATE TABLE kept AS SELECT 1 AS one", database)
    found: HostConfig = pg16.host(tmp_path, database)
    return found


def _query(sql: str, **more: Any) -> SmokeQuery:
    return SmokeQuery(name="asked", sql=sql, **more)


@pytest.mark.parametrize(
    ("query", "ok", "seen"),
    [
        (_query("SELECT 5"), True, "5, at least 1"),
        (_query("SELECT 5", minimum=6), False, "5, at least 6"),
        (_query("SELECT 2.5", minimum=2), True, "2.5, at least 2"),
        (_query("SELECT 'EUR'", expected="EUR"), True, "EUR, expected EUR"),
        (_query("SELECT 8", expected=9), False, "8, expected 9"),
        (_query("SELECT 'EUR'"), False, "no number"),
        (_query("SELECT NULL::int"), False, "no number"),
        (_query("SELECT 1, 2"), False, "one row with one value"),
        (_query("SELECT 1 WHERE false"), False, "one row with one value"),
        (_query("SELECT '50%%'::text", expected="50%%"), True, "50%%"),
        (_query("SELECT count(*) FROM no_such.table_here"), False, "does not exist"),
        (_query("WITH gone AS (DELETE FROM kept RETURNING 1) SELECT count(*) FROM gone"), False, "read-only"),
    ],
    ids=lambda value: value.sql if isinstance(value, SmokeQuery) else None,
)
def test_an_answer_passes_or_says_why_not(host: HostConfig, query: SmokeQuery, ok: bool, seen: str) -> None:
    (check,) = ask(host, [query])
    assert check.ok is ok
    assert seen in check.detail
    assert check.fatal
    assert check.name == "smoke query asked"


def test_a_failed_query_does_not_silence_the_next(host: HostConfig) -> None:
    checks = ask(host, [_query("SELECT 1/0"), _query("SELECT 1")])
    assert [check.ok for check in checks] == [False, True]


def test_no_server_is_unreachable(host: HostConfig) -> None:
    with pytest.raises(UnreachableError):
        ask(host.model_copy(update={"port": 1}), [_query("SELECT 1")])
