"""Fingerprints of real databases: what must be equal is equal, what differs by one bit is found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from pgdr import fingerprint
from pgdr.errors import ConfigError, OperationFailedError, RefusedError
from pgdr.fingerprint_model import Fingerprint, compare, load
from pgdr.postgres.connection import connected
from pgdr.postgres.relations import read_catalog

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, ClusterFactory

SAMPLE = (Path(__file__).parent / "data" / "sample.sql").read_text(encoding="utf-8")


def _load(cluster: Cluster, name: str, statements: str = SAMPLE) -> str:
    cluster.create_database(name)
    cluster.execute(statements, name)
    return name


@pytest.fixture(scope="module")
def sample(pg16: Cluster) -> str:
    return _load(pg16, "sample")


@pytest.fixture(scope="module")
def reference(pg16: Cluster, sample: str, tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGUSER", "postgres")
        return _take(pg16, tmp_path_factory.mktemp("reference"), sample)


@pytest.fixture
def copy(pg16: Cluster, sample: str) -> Iterator[str]:
    """A copy of the sample that a test may change."""
    yield pg16.create_database("sample_copy", sample)
    pg16.execute("drop database sample_copy with (force)")


def _take(cluster: Cluster, tmp_path: Path, database: str, **more: object) -> Fingerprint:
    return fingerprint.take(cluster.host(tmp_path, database), **more)  # type: ignore[arg-type]


def test_counts_everything_under_unambiguous_names(pg16: Cluster, sample: str, tmp_path: Path) -> None:
    found = _take(pg16, tmp_path, sample)
    assert {key: total.rows for key, total in found.tables.items()} == {
        '"Größe %s ""x"""."a.b ""c"" %I"': 11,
        "core.audit_logs": 2000,
        "core.child": 2,
        "core.empty_root": 0,
        "core.parent": 1,
        "core.partners": 3000,
        'public."select"': 4,
    }
    assert found.totals.tables == 7
    assert found.totals.rows == 5018
    assert found.unlogged == ("core.scratch",)
    assert found.sequences['core."odd ""seq"""'].last_value == -4
    assert found.sequences['core."odd ""seq"""'].next_value == -7
    assert not found.sequences["core.untouched"].is_called
    totals = found.materialized_views["core.totals"]
    assert totals is not None
    assert totals.rows == 7
    assert found.materialized_views["core.never"] is None
    assert found.system_identifier == str(pg16.value("select system_identifier from pg_control_system()"))
    assert found.timeline == 1
    assert found.taken_at.utcoffset() is not None
    assert found.server_version.startswith("16.")


@pytest.mark.parametrize("key", ["core.partners", "core.audit_logs", '"Größe %s ""x"""."a.b ""c"" %I"'])
def test_agrees_with_plain_sql(pg16: Cluster, sample: str, tmp_path: Path, key: str) -> None:
    """The sums are those that anybody can compute with two lines of SQL, of partitions through their root too."""
    found = _take(pg16, tmp_path, sample).tables[key]
    hashes = "sum(hashtextextended(whole::text, 0)), sum(hashtextextended(whole::text, 1))"
    statement = f"select {hashes} from {key} as whole"
    with pg16.connect(sample) as connection:
        connection.execute("set DateStyle = 'ISO, YMD'; set IntervalStyle = iso_8601; set TimeZone = 'UTC'")
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    assert (found.sum0, found.sum1) == (int(row[0]) % 2**64, int(row[1]) % 2**64)
    assert found.checksum == f"{found.sum0:016x}{found.sum1:016x}"


def test_parallel_ranges_equal_one_serial_scan(pg16: Cluster, sample: str, tmp_path: Path) -> None:
    serial = _take(pg16, tmp_path, sample, jobs=1, chunk_bytes=1 << 40)
    progress: list[tuple[int, int]] = []
    parallel = _take(pg16, tmp_path, sample, jobs=3, chunk_bytes=8192, on_progress=lambda *done: progress.append(done))
    assert parallel.tables == serial.tables
    assert parallel.materialized_views == serial.materialized_views
    assert len(progress) > 60  # really cut into ranges
    assert all(done <= total for done, total in progress)


def test_ranges_are_read_as_ranges(pg16: Cluster, sample: str, tmp_path: Path) -> None:
    """Otherwise each range would read the whole table."""
    host = pg16.host(tmp_path, sample)
    with connected(host, sample, settings=fingerprint._SETTINGS) as connection:
        relations = read_catalog(connection).relations
        tasks = [t for t in fingerprint._tasks(relations, 65536) if t.relation.name == "partners"]
        plans = [str(connection.execute(sql.SQL("explain ") + task.statement).fetchall()) for task in tasks]
        whole = next(t for t in fingerprint._tasks(relations, 1 << 40) if t.relation.name == "partners")
        plain = str(connection.execute(sql.SQL("explain ") + whole.statement).fetchall())
    assert len(plans) > 3
    assert all("Tid Range Scan" in plan for plan in plans)
    assert "Seq Scan" in plain


def test_dump_and_restore_is_equal(
    pg16: Cluster, pg18: Cluster, sample: str, reference: Fingerprint, tmp_path: Path
) -> None:
    """On the same version and on a newer one: equal data has equal fingerprints."""
    archive = pg16.folder / "sample.dump"
    pg16.client("pg_dump", "-Fc", "-f", str(archive), sample)
    for cluster in (pg16, pg18):
        database = cluster.create_database("restored")
        cluster.client("pg_restore", "--exit-on-error", "-d", database, str(archive))
        actual = _take(cluster, tmp_path, database)
        comparison = compare(reference, actual)
        assert comparison.differences == ()
        assert actual.server_version.startswith(f"{cluster.version}.")
        cluster.execute("drop database restored")


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ("update core.partners set name = name || ' ' where id = 2999", "core.partners", "other content"),
        ("update core.partners set rate = rate + 1e-12 where id = 4", "core.partners", "other content"),
        (
            "update core.partners set seen = seen + interval '1 microsecond' where id = 5",
            "core.partners",
            "content",
        ),
        ("update core.partners set name = '' where id = 5", "core.partners", "other content"),
        ("delete from core.partners where id = 17", "core.partners", "3000 rows expected, 2999 found (-1)"),
        ("insert into core.audit_logs values (1, '2025-02-02', 'z')", "core.audit_logs", "2001 found (+1)"),
        ("update public.audit_other set id = id + 1 where id = 300", "core.audit_logs", "other content"),
        ("drop table core.parent cascade", "core.child", "missing"),
        ("create table core.new (id int)", "core.new", "not in the reference"),
        ('select setval(\'core."odd ""seq"""\', -4, false)', 'core."odd ""seq"""', "behind"),
        ('select setval(\'core."odd ""seq"""\', -1)', 'core."odd ""seq"""', "behind"),
        ("drop sequence core.untouched", "core.untouched", "sequence missing"),
    ],
)
def test_one_change_is_found(
    pg16: Cluster, reference: Fingerprint, copy: str, tmp_path: Path, change: str, key: str, words: str
) -> None:
    pg16.execute(change, copy)
    comparison = compare(reference, _take(pg16, tmp_path, copy))
    assert not comparison.equal
    assert any(item.key == key and words in item.what for item in comparison.differences), comparison


def test_swapped_values_between_two_rows_are_found(
    pg16: Cluster, reference: Fingerprint, copy: str, tmp_path: Path
) -> None:
    """A sum over columns would not see it; a sum over rows does."""
    pg16.execute(
        "update core.partners a set name = b.name from core.partners b where (a.id, b.id) in ((1, 2), (2, 1))", copy
    )
    assert not compare(reference, _take(pg16, tmp_path, copy)).equal


def test_what_may_differ_after_a_recovery_is_only_noted(
    pg16: Cluster, reference: Fingerprint, copy: str, tmp_path: Path
) -> None:
    pg16.execute("select setval('core.untouched', 33); refresh materialized view core.never", copy)
    comparison = compare(reference, _take(pg16, tmp_path, copy))
    assert comparison.equal
    notes = {item.key: item.what for item in comparison.notes}
    assert notes["core.untouched"] == "sequence ahead by 33"
    assert "refresh" in notes["core.never"]
    assert "unlogged" in notes["core.scratch"]


def test_the_snapshot_is_one(pg16: Cluster, copy: str, tmp_path: Path) -> None:
    """Rows move between two tables all the time; no fingerprint may ever see one of them twice or never."""
    pg16.execute(
        "create table core.left_side (id int); create table core.right_side (id int);"
        "insert into core.left_side select generate_series(1, 200)",
        copy,
    )
    move_sql = "with moved as (delete from {} where random() < 0.3 returning id) insert into {} select id from moved"
    left, right = sql.Identifier("core", "left_side"), sql.Identifier("core", "right_side")
    moves = [sql.SQL(move_sql).format(left, right), sql.SQL(move_sql).format(right, left)]
    stop = threading.Event()

    def move() -> None:
        with pg16.connect(copy) as connection:
            while not stop.is_set():
                for statement in moves:
                    connection.execute(statement)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(5):
            found = _take(pg16, tmp_path, copy, jobs=2, chunk_bytes=8192)
            both = found.tables["core.left_side"].plus(found.tables["core.right_side"])
            assert both.rows == 200
    finally:
        stop.set()
        mover.join()


def test_an_untouched_copy_is_equal(pg16: Cluster, reference: Fingerprint, copy: str, tmp_path: Path) -> None:
    comparison = compare(reference, _take(pg16, tmp_path, copy))
    assert comparison.equal
    assert (comparison.tables, comparison.rows) == (7, 5018)


def test_tables_cannot_be_emptied_meanwhile(pg16: Cluster, copy: str, tmp_path: Path) -> None:
    """A snapshot does not protect from truncate: without a lock the table would be counted as empty."""
    refused: list[str] = []

    def truncate(_done: int, _total: int) -> None:
        with pg16.connect(copy) as connection:
            connection.execute("set lock_timeout = '50ms'")
            for table in ("core.partners", "core.audit_2024_a", "core.child"):
                try:
                    connection.execute(f"truncate {table}".encode())
                except psycopg.errors.LockNotAvailable:
                    refused.append(table)

    assert _take(pg16, tmp_path, copy, jobs=1, on_progress=truncate).totals.rows == 5018
    assert set(refused) == {"core.partners", "core.audit_2024_a", "core.child"}


def test_large_objects_count_as_a_table(pg16: Cluster, copy: str, tmp_path: Path) -> None:
    assert "pg_catalog.pg_largeobject" not in _take(pg16, tmp_path, copy).tables
    pg16.execute("select lo_from_bytea(0, decode(repeat('ab', 5000), 'hex'))", copy)
    assert _take(pg16, tmp_path, copy).tables["pg_catalog.pg_largeobject"].rows == 3


def test_schemas_can_be_chosen(pg16: Cluster, sample: str, tmp_path: Path) -> None:
    odd = 'Größe %s "x"'
    found = _take(pg16, tmp_path, sample, schemas=[odd, "pgdr"])
    assert set(found.tables) == {'"Größe %s ""x"""."a.b ""c"" %I"', "pgdr.heartbeat"}
    with pytest.raises(RefusedError, match="no such schema: CORE"):
        _take(pg16, tmp_path, sample, schemas=["CORE"])
    with pytest.raises(ConfigError, match="different schemas"):
        compare(found, _take(pg16, tmp_path, sample))


def test_a_locked_table_is_an_error_and_not_a_wait_for_ever(
    pg16: Cluster, copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fingerprint._SETTINGS, "lock_timeout", "200ms")
    with pg16.connect(copy) as connection, connection.transaction():
        connection.execute("lock table core.partners in access exclusive mode")
        with pytest.raises(OperationFailedError, match="lock timeout"):
            _take(pg16, tmp_path, copy)


def test_a_failing_table_ends_the_others_and_is_named(pg16: Cluster, copy: str, tmp_path: Path) -> None:
    pg16.execute(
        """
        create type core.mood as enum ('sad');
        create table core.broken as select 'sad'::core.mood;
        delete from pg_enum where enumtypid = 'core.mood'::regtype;
        """,
        copy,
    )
    with pytest.raises(OperationFailedError, match=r"core\.broken"):
        _take(pg16, tmp_path, copy, jobs=2)


def test_works_on_a_standby_during_recovery(
    pg16: Cluster, sample: str, new_cluster: ClusterFactory, tmp_path: Path
) -> None:
    standby = new_cluster(16, start=False)
    pg16.client("pg_basebackup", "-D", str(standby.data), "-R", "-X", "stream", "-c", "fast", "--no-sync")
    standby.configure({"hot_standby": "on"})
    standby.start()
    found = _take(standby, tmp_path, sample, jobs=3, chunk_bytes=65536)
    assert found.in_recovery
    comparison = compare(_take(pg16, tmp_path, sample), found)
    assert comparison.differences == ()
    standby.execute("select pg_wal_replay_pause()")
    assert compare(found, _take(standby, tmp_path, sample)).equal
    standby.stop()


def test_saves_and_loads(pg16: Cluster, sample: str, tmp_path: Path) -> None:
    found = _take(pg16, tmp_path, sample)
    found.save(tmp_path / "f.json")
    assert load(tmp_path / "f.json") == found
    (tmp_path / "g.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"g\.json is not a fingerprint: database"):
        load(tmp_path / "g.json")
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "h.json")
