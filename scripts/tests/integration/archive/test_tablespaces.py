"""An archive of a host with tablespaces comes back on one that has not got them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from scripts.tests.integration.archive.conftest import ERP, Site

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, ClusterFactory

CONSENT = ("--confirm", "erp-test")
PLACES = """
select distinct coalesce(t.spcname, '') from pg_class c left join pg_tablespace t on t.oid = c.reltablespace
where c.relnamespace::regnamespace::text in ('core', 'sales') and c.relkind in ('r', 'i', 'm', 'p') order by 1
"""


@pytest.fixture(scope="module")
def places(new_cluster: ClusterFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server with a tablespace."""
    cluster = new_cluster(16)
    folder = cluster.folder / "fast ssd"
    folder.mkdir()
    shutil.chown(folder, cluster.folder.stat().st_uid, cluster.folder.stat().st_gid)
    cluster.execute(f"""create tablespace "fast ssd" location '{folder}'""")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def site(make_site: Callable[..., Site], places: Cluster) -> Iterator[Site]:
    """A site with tables and indexes in a tablespace."""
    made = make_site(cluster=places, sql=ERP)
    made.execute("""
        alter table sales.orders set tablespace "fast ssd"; alter index sales.lines_pkey set tablespace "fast ssd";
        alter materialized view sales.totals set tablespace "fast ssd";
        create index name_of_partner on core.partners (name) tablespace "fast ssd"
    """)
    _tenants(made)
    yield made
    places.execute(f'drop database if exists "{made.database}" with (force)')


def _places(site: Site) -> list[Any]:
    with site.cluster.connect(site.database) as connection:
        return [row[0] for row in connection.execute(PLACES.encode())]


def _tenants(site: Site) -> None:
    policy = site.folder / "policy.yml"
    rules = yaml.safe_load(policy.read_text())
    rules["recovery_policy"]["tenancy"] = {"column": "tenant_id", "shared": [{"schema": "sales", "table": "log"}]}
    policy.write_text(yaml.safe_dump(rules))


@pytest.fixture
def elsewhere(site: Site, make_site: Callable[..., Site], pg16: Cluster) -> Iterator[Callable[[], Site]]:
    """Another host with the same archives, without the tablespace, whose database has lost rows."""

    def make() -> Site:
        made = make_site(cluster=pg16)
        _tenants(made)
        made.execute("delete from sales.lines where n = 2")
        return made

    yield make
    with pg16.connect() as connection:
        for (name,) in connection.execute("select datname from pg_database where datname like 'erp%'").fetchall():
            pg16.execute(f'drop database "{name}" with (force)')


def test_what_lay_in_a_tablespace_lies_there_again(site: Site) -> None:
    site.ask("archive")
    site.execute("drop schema sales cascade")
    site.ask("restore", "schema", "sales", *CONSENT)
    assert _places(site) == ["", "fast ssd"]
    site.ask("restore", "database", *CONSENT, "--disconnect")
    assert _places(site) == ["", "fast ssd"]
    site.ask("restore", "schema", "sales", "--no-tablespaces", *CONSENT)
    assert (
        site.value(
            "select count(*) from pg_class where reltablespace <> 0 and relname = 'orders'"
            " and relnamespace = 'sales'::regnamespace"
        )
        == 0
    )


def test_a_host_without_it_is_told_before_anything_happens(site: Site, elsewhere: Callable[[], Site]) -> None:
    label = site.ask("archive")["label"]
    manifest = json.loads((site.archives / label / "manifest.json").read_text())
    assert manifest["tablespaces"] == ["fast ssd"]
    other = elsewhere()
    for command in (["database", "--disconnect"], ["schema", "sales"]):
        for how in (("--plan",), CONSENT):
            line = other.refused("restore", *command, *how)
            assert "in tablespaces that this cluster does not have: fast ssd" in line
            assert "--no-tablespaces" in line
    assert other.value("select count(*) from sales.lines") == 600
    # Rows come home without it: where they lay beside is nobody's business.
    other.ask("restore", "table", "sales.lines", "--missing-only", *CONSENT)
    assert other.value("select count(*) from sales.lines") == 900
    other.execute("delete from sales.lines where n = 2")
    other.ask("restore", "tenant", "1", "--confirm", "1")
    assert other.value("select count(*) from sales.lines") == 700
    other.ask("restore", "schema", "sales", "--no-tablespaces", *CONSENT)
    assert other.value("select count(*) from sales.lines") == 900
    other.execute("delete from sales.lines where n = 2")
    other.ask("restore", "database", "--no-tablespaces", *CONSENT, "--disconnect")
    assert other.value("select count(*) from sales.lines") == 900


def test_an_archive_of_before_says_it_at_the_latest_when_it_is_restored(
    site: Site, elsewhere: Callable[[], Site]
) -> None:
    label = site.ask("archive")["label"]
    path: Path = site.archives / label / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["tablespaces"]
    path.write_text(json.dumps(manifest))
    other = elsewhere()
    line = other.refused("restore", "database", *CONSENT, "--disconnect", code=1)
    assert "add --no-tablespaces" in line
    assert other.value("select count(*) from sales.lines") == 600
