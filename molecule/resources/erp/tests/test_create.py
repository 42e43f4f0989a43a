"""Making the sample: always the same data, about the wanted size, and never over something else."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from erp.cli.main import main
from erp.create import SCHEMAS, Wanted, create
from erp.scale import MIB, Scale
from erp.tests.cluster import Cluster
from erp.tests.conftest import SIZE_MB, TENANTS, Sample, short_folder, silent
from erp.tests.fingerprint import fingerprint
from pgdr.errors import ConfigError, ExitCode, RefusedError, UnreachableError


def _wanted(cluster: Cluster, database: str, **changes: object) -> Wanted:
    settings = {"size_mb": SIZE_MB, "tenants": TENANTS, "extensions": False, **changes}
    return Wanted(cluster.dsn(database, "erp_owner"), **settings)  # type: ignore[arg-type]


def test_same_seed_gives_same_data(cluster: Cluster, sample: Sample, empty: str) -> None:
    # Other connections, another locale, time zone and date style, another moment: nothing of it may matter.
    cluster.execute(f"DROP DATABASE {empty}")
    cluster.execute(f"CREATE DATABASE {empty} OWNER erp_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    cluster.execute(f"ALTER DATABASE {empty} SET timezone = 'Asia/Tokyo'")
    cluster.execute(f"ALTER DATABASE {empty} SET datestyle = 'German, DMY'")

    create(_wanted(cluster, empty, jobs=3), silent)

    assert fingerprint(cluster.dsn(empty)) == sample.fingerprint


def test_other_seed_gives_other_data(cluster: Cluster, sample: Sample, empty: str) -> None:
    create(_wanted(cluster, empty, seed=43), silent)

    other = fingerprint(cluster.dsn(empty))

    fixed = {"auth.permissions", "core.countries", "core.currencies", "system.client_transactions"}
    fixed |= {"system.schema_migrations"}
    same = {table for table, figures in other.items() if figures == sample.fingerprint[table]}
    assert same == fixed


def test_size_is_met(cluster: Cluster, sample: Sample, empty: str) -> None:
    assert sample.created.database_bytes == pytest.approx(SIZE_MB * MIB, rel=0.2)

    larger = create(_wanted(cluster, empty, size_mb=60, tenants=50), silent)

    assert larger.database_bytes == pytest.approx(60 * MIB, rel=0.2)


def test_too_many_tenants_for_the_size_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"2000 tenants do not fit into 30 MiB \(--size-mb \d+ or more"):
        Scale.for_size(30, 2000)


def test_no_table_is_empty_but_the_loads_own(sample: Sample) -> None:
    empty_tables = {table for table, figures in sample.fingerprint.items() if not figures["rows"]}

    assert empty_tables == {"system.client_transactions"}


def test_second_run_is_refused_in_one_line(
    cluster: Cluster, database: str, sample: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["create", "--dsn", cluster.dsn(database, "erp_owner"), "--no-extensions", "--size-mb", "30"]

    assert main(arguments) == ExitCode.REFUSED

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["erp: error: the ERP sample is there already (--recreate drops it first)"]
    assert fingerprint(cluster.dsn(database)) == sample.fingerprint


def test_recreate_replaces_an_unfinished_sample(cluster: Cluster, database: str, sample: Sample) -> None:
    cluster.execute("UPDATE system.erp_sample SET complete = false", database)
    cluster.execute("DELETE FROM system.notifications", database)
    with pytest.raises(RefusedError, match="never finished"):
        create(_wanted(cluster, database), silent)

    create(_wanted(cluster, database, recreate=True), silent)

    assert fingerprint(cluster.dsn(database)) == sample.fingerprint


def test_recreate_never_drops_what_is_not_the_sample(cluster: Cluster, empty: str) -> None:
    cluster.execute("CREATE SCHEMA sales AUTHORIZATION erp_owner CREATE TABLE orders (id integer)", empty)

    with pytest.raises(RefusedError, match="schemas exist that this sample did not make: sales"):
        create(_wanted(cluster, empty, recreate=True), silent)

    with psycopg.connect(cluster.dsn(empty)) as connection:
        assert connection.execute("SELECT to_regclass('sales.orders')::text").fetchone() == ("sales.orders",)


def test_owner_role_owns_everything(cluster: Cluster, empty: str) -> None:
    create(Wanted(cluster.dsn(empty), size_mb=16, tenants=1, extensions=False, owner="erp_owner"), silent)

    with psycopg.connect(cluster.dsn(empty)) as connection:
        owners = connection.execute(
            "SELECT DISTINCT c.relowner::regrole::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = ANY(%s)",
            (list(SCHEMAS),),
        ).fetchall()
    assert owners == [("erp_owner",)]


def test_connection_problems_are_named(cluster: Cluster) -> None:
    with pytest.raises(UnreachableError, match="cannot connect"):
        create(Wanted("host=/nowhere dbname=x user=y"), silent)
    with pytest.raises(ConfigError, match="--dsn is no PostgreSQL connection string") as refused:
        create(Wanted("password=secret-7 host"), silent)
    assert "secret-7" not in str(refused.value)
    with pytest.raises(ConfigError, match="cannot act as role 'nobody_here'"):
        create(Wanted(cluster.dsn(), owner="nobody_here"), silent)


def test_other_encodings_are_refused(cluster: Cluster, empty: str) -> None:
    cluster.execute(f"DROP DATABASE {empty}")
    cluster.execute(f"CREATE DATABASE {empty} OWNER erp_owner TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")

    with pytest.raises(RefusedError, match="has encoding LATIN1"):
        create(_wanted(cluster, empty), silent)


def _contrib_server() -> Path | None:
    """The binaries of a PostgreSQL that has the contrib modules, if this machine has one."""
    found = sorted(Path("/usr/share/postgresql").glob("*/extension/btree_gist.control"))
    versions = [path.parts[-3] for path in found if int(path.parts[-3]) >= 15]
    return Path(f"/usr/lib/postgresql/{versions[-1]}/bin") if versions else None


@pytest.mark.skipif(_contrib_server() is None, reason="no PostgreSQL >= 15 with contrib modules is installed")
def test_extensions_of_an_owner_who_is_no_superuser() -> None:
    binaries = _contrib_server()
    assert binaries is not None
    cluster = Cluster(short_folder(), binaries)
    try:
        cluster.start()
        cluster.execute("CREATE ROLE erp_owner LOGIN")
        cluster.execute("CREATE DATABASE erp OWNER erp_owner")
        wanted = Wanted(cluster.dsn("erp", "erp_owner"), size_mb=SIZE_MB, tenants=TENANTS)
        assert wanted.extensions, "extensions are the default"

        create(wanted, silent)
        # The extensions stay when the schemas go: a second time must work as well.
        create(Wanted(wanted.dsn, size_mb=SIZE_MB, tenants=TENANTS, recreate=True), silent)

        with psycopg.connect(cluster.dsn("erp", "erp_owner")) as connection:
            extensions = {name for (name,) in connection.execute("SELECT extname FROM pg_extension")}
            assert {"citext", "pg_trgm", "btree_gist", "pgcrypto"} <= extensions
            row = connection.execute(
                "SELECT atttypid::regtype::text FROM pg_attribute"
                " WHERE attrelid = 'auth.users'::regclass AND attname = 'email'"
            ).fetchone()
            assert row == ("citext",)
            with pytest.raises(psycopg.errors.ExclusionViolation):
                connection.execute(
                    "INSERT INTO projects.resource_bookings (tenant_id, resource, during)"
                    " SELECT tenant_id, resource, during FROM projects.resource_bookings LIMIT 1"
                )
    finally:
        cluster.remove()
