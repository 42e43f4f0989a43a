"""A tenant moves into a database of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pgdr.cli.main import main
from pgdr.errors import NotProvenError, RefusedError
from pgdr.surgery import export, move

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.tests.integration.surgery.conftest import Pair, PairFactory


@pytest.fixture
def target(pg16: Any) -> Iterator[str]:
    name = pg16.create_database("dedicated")
    yield name
    pg16.execute("drop database if exists dedicated with (force)")


def _export(pair: Pair, folder: Path, tenant: str = "1") -> export.Manifest:
    return export.export_tenant(export.Request(pair.host, pair.tenancy, tenant, pair.live), folder)


def test_a_tenant_arrives_whole_and_alone(new_pair: PairFactory, shop: str, target: str, tmp_path: Path) -> None:
    pair = new_pair(shop)
    pair.run("create table shop.unknown (secret text); insert into shop.unknown values ('of tenant 2')")
    pair.run("create materialized view shop.sums as select tenant_id, count(*) from shop.orders group by 1")
    manifest = _export(pair, tmp_path / "export")
    assert manifest.left_out == ("shop.unknown",)
    moved = move.load_tenant(pair.host, tmp_path / "export", move.LocalTarget(pair.host, target))
    assert moved.rows == manifest.rows == 168
    for table, where in {
        "tenants": "id = 1",
        "customers": "tenant_id = 1",
        "orders": "tenant_id = 1",
        "events": "tenant_id = 1",
        "currencies": "true",
        "lines": "order_id in (select id from shop.orders where tenant_id = 1)",
    }.items():
        rows = f"select x::text from shop.{table} x"
        assert sorted(pair.rows(rows, target)) == sorted(pair.rows(f"{rows} where {where}")), table
    assert pair.value("select count(*) from shop.unknown", target) == 0
    assert pair.rows("select * from shop.sums", target) == [(1, 30)]
    # Sequences go on, and keys, references and triggers are there.
    following = pair.value(
        "insert into shop.orders (tenant_id, customer_id) select 1, min(id) from shop.customers returning id", target
    )
    assert following == 61
    with pytest.raises(Exception, match="violates foreign key"):
        pair.cluster.execute("insert into shop.orders (tenant_id, customer_id) values (2, 1)", target)


def test_refusals(new_pair: PairFactory, shop: str, target: str, tmp_path: Path) -> None:
    pair = new_pair(shop)
    with pytest.raises(RefusedError, match="no row belongs to tenant '9'"):
        _export(pair, tmp_path / "nobody", "9")
    manifest = _export(pair, tmp_path / "export")
    with pytest.raises(RefusedError, match="is not empty"):
        _export(pair, tmp_path / "export")
    with pytest.raises(RefusedError, match="is not empty"):
        move.load_tenant(pair.host, tmp_path / "export", move.LocalTarget(pair.host, pair.past))
    file = tmp_path / "export" / manifest.tables[0].file.name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(NotProvenError, match="is not the file that was written"):
        move.load_tenant(pair.host, tmp_path / "export", move.LocalTarget(pair.host, target))
    assert pair.value("select count(*) from pg_class where relnamespace::regnamespace::text = 'shop'", target) == 0


def test_a_target_that_cannot_be_is_refused_before_anything_is_exported(
    new_pair: PairFactory, shop: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = new_pair(shop)
    config, policy = tmp_path / "host.yml", tmp_path / "policy.yml"
    config.write_text(yaml.safe_dump(pair.host.model_dump(mode="json")))
    rules = yaml.safe_load(Path("inventories/production/group_vars/all/policy.yml").read_text())
    policy.write_text(yaml.safe_dump(rules))
    command = [
        "--config",
        str(config),
        "tenant",
        "move",
        "1",
        "--through",
        str(tmp_path / "way"),
        "--policy",
        str(policy),
    ]
    for target, why in {
        ("--to-service", "nowhere"): "no service 'nowhere'",
        ("--to-database", pair.past): "is not empty",
        ("--to-database", "no such one"): "no such one",
    }.items():
        assert main([*command, *target]) != 0
        assert why in capfd.readouterr().err
        assert not (tmp_path / "way").exists()
