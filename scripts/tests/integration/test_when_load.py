"""One DELETE among 200,000 transactions: found, counted to the row across segments."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pgdr.cli.main import main

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import SiteFactory

_TRANSACTIONS = 200_000
_ROWS = 60_000
_SCHEMA = """
create schema sales;
create table sales.orders (id int primary key, note text);
insert into sales.orders select g, md5(g::text) from generate_series(1, 60000) g;
create table public.noise (id int primary key, n int) with (fillfactor = 50);
insert into public.noise select g, 0 from generate_series(1, 10000) g;
create procedure noise(rounds int) language plpgsql as $$
begin
    for i in 1..rounds loop
        update public.noise set n = n + 1 where id = 1 + (i * 7919) % 10000;
        insert into public.noise values (1000000 + (random() * 1e9)::int, 0) on conflict do nothing;
        commit;
    end loop;
end $$;
"""


def test_one_delete_among_200000_transactions(
    new_site: SiteFactory, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "synchronous_commit": "off"})
    cluster = site.cluster
    cluster.create_database("erp")
    cluster.execute(_SCHEMA, "erp")
    cluster.execute("checkpoint")
    begin = datetime.now(UTC)
    half = _TRANSACTIONS // 2
    cluster.execute(f"call noise({half})", "erp")
    with cluster.connect("erp") as connection:
        connection.autocommit = False
        connection.execute("delete from sales.orders")
        xid = int(connection.execute("select pg_current_xact_id()::text").fetchone()[0])  # type: ignore[index]
        connection.commit()
    cluster.execute(f"call noise({_TRANSACTIONS - half})", "erp")
    last = cluster.value("select pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 120
    while cluster.value("select coalesce(last_archived_wal, '') from pg_stat_archiver") < last:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    host = site.host(tmp_path, "erp")
    config = tmp_path / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    argv = ["--config", str(config), "when", "sales.orders", "--kind", "delete"]
    assert main([*argv, "--from", begin.isoformat(), "--output", "json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["transactions"] >= _TRANSACTIONS
    assert found["complete"]
    # The delete and its neighbours fill several segments: records that cross a border are counted once.
    assert [(item["xid"], item["tables"][0]["deleted"]) for item in found["candidates"]] == [(xid, _ROWS)]
    assert int(found["first_segment"], 16) < int(found["last_segment"], 16)
