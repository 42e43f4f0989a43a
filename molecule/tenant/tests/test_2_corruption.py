"""A disk breaks a table and an index while people work: one play names both, cures both, and no row is lost.

Then a table whose page is right by its checksum and makes no sense: it costs nobody the cluster either.

The proof is the load's own ledger again, for every table.
"""

from __future__ import annotations

import inspect
import random
from pathlib import Path
from typing import Any

import pytest

from drill.client import ErpClient
from drill.host import DATA, Host
from drill.running import until
from pgdr.corruption import checksum

PAGE = 8192
TABLE = "purchase.order_lines"
INDEX = "financial.journal_lines_pkey"
# What the kernel hands the disk; the server must not have the page in memory any more.
BREAK = "import sys; f = open(sys.argv[1], 'r+b'); f.seek(int(sys.argv[2])); f.write(b'a disk wrote this here')"
# What a fault in memory leaves: a row of the block begins nowhere, under a checksum that fits.
TWIST = (
    inspect.getsource(checksum)
    + """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]) * PAGE_SIZE)
    page = bytearray(file.read(PAGE_SIZE))
    page[(int.from_bytes(page[24:28], "little") & 0x7FFF) + 22] = 200
    page[8:10] = page_checksum(bytes(page), int(sys.argv[2])).to_bytes(2, "little")
    file.seek(-PAGE_SIZE, 1)
    file.write(page)
"""
)
UNIT = ("journalctl", "--unit=pgdr-side@corruption-cure", "--output=cat", "--no-pager")
REWRITE = """
SET session_replication_role = replica;
UPDATE purchase.order_lines SET quantity = quantity WHERE random() < 0.2
"""
EVICT = """
SELECT count(pg_buffercache_evict(bufferid)) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('{0}')
"""


def _break(db1: Host, relation: str) -> int:
    """Overwrite some bytes of a random block; which one."""
    db1.sql("CHECKPOINT")
    path = DATA + "/" + db1.sql(f"SELECT pg_relation_filepath('{relation}')")
    blocks = int(db1.run("stat", "-c", "%s", path).stdout) // PAGE
    block = random.randrange(1, blocks)  # noqa: S311 - a place
    offset = block * PAGE + random.randrange(100, 8000)  # noqa: S311
    db1.run("python3", "-c", BREAK, path, str(offset))
    db1.sql(EVICT.format(relation))
    return block


@pytest.fixture(scope="module")
def blocks(erp: ErpClient, db1: Host) -> dict[str, int]:
    """A backup, then rows that are newer than it, then two broken files; the load goes on."""
    db1.pgdr("backup", "full", "--repo", "1")
    # The same content, written anew: the reference still holds, and no backup has these versions.
    db1.sql(REWRITE)
    db1.sql("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
    found = {relation: _break(db1, relation) for relation in (TABLE, INDEX)}
    db1.sql("DROP EXTENSION pg_buffercache")
    assert erp.writes
    return found


@pytest.mark.step
def test_the_plan_names_what_is_damaged_and_changes_nothing(
    plays: Any, db1: Host, erp: ErpClient, blocks: dict[str, int], tmp_path: Path
) -> None:
    path = f"SELECT pg_relation_filepath('{TABLE}'), pg_relation_filepath('{INDEX}')"
    before = db1.sql(path)
    out = plays.succeed("dr-corruption.yml", plan_only=True, restore_confirm="", evidence_directory=str(tmp_path))
    said = " ".join(out.split())  # Ansible folds long lines
    assert f"table {TABLE} in database erp_generic, blocks {blocks[TABLE]}: its checksum is wrong" in said
    assert f"index {INDEX} in database erp_generic, blocks {blocks[INDEX]}: its checksum is wrong" in said
    assert "which copied it whole" in said
    assert f"blocks from the past: table {TABLE} in database erp_generic (1 blocks), out of backup" in said
    assert [file.suffix for file in tmp_path.iterdir()] == [".gz"]
    assert db1.sql(path) == before


@pytest.mark.step
def test_one_play_cures_both_while_people_work(
    plays: Any, db1: Host, erp: ErpClient, blocks: dict[str, int], tmp_path: Path
) -> None:
    before = erp.committed()
    said = plays.succeed("dr-corruption.yml", evidence_directory=str(tmp_path), install_extensions=True, thorough=True)
    assert f"{TABLE}: 1 blocks came back" in said
    assert "examined again, no damage was found" in said
    assert "Started pgdr-side@corruption-cure" in db1.run(*UNIT).stdout, "the past ran without its caps"
    assert erp.writes
    assert erp.committed() > before, "nobody could work meanwhile"
    until("the load goes on", lambda: erp.committed() > before + 5, 30)
    erp.pause()
    try:
        assert erp.prove("db1", db1.sql("SELECT pg_current_wal_lsn()")).faults == []
    finally:
        erp.resume()


@pytest.mark.step
def test_a_page_that_is_right_by_its_checksum_and_makes_no_sense_comes_back_too(
    plays: Any, db1: Host, erp: ErpClient, tmp_path: Path
) -> None:
    db1.sql("CREATE TABLE notes AS SELECT g AS id, repeat('n', 60) || g AS note FROM generate_series(1, 5000) g")
    db1.pgdr("backup", "incr", "--repo", "1")
    db1.sql("UPDATE notes SET note = note || '!' WHERE id % 7 = 0")
    # Nothing is left that a reader would write into the page, and so into WAL: that would make the damage WAL's own.
    db1.sql("VACUUM (FREEZE) notes")
    db1.sql("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
    whole = "SELECT md5(string_agg(id || note, ',' ORDER BY id)) FROM notes"
    before = db1.sql(whole)
    db1.sql("CHECKPOINT")
    db1.run("python3", "-c", TWIST, DATA + "/" + db1.sql("SELECT pg_relation_filepath('notes')"), "7")
    db1.sql(EVICT.format("notes"))
    db1.sql("DROP EXTENSION pg_buffercache")
    assert db1.sql(whole) != before
    running = db1.sql("SELECT pg_postmaster_start_time()")
    said = plays.succeed("dr-corruption.yml", evidence_directory=str(tmp_path), install_extensions=True)
    assert "public.notes: 1 blocks came back" in said
    assert "examined again, no damage was found" in said
    assert db1.sql(whole) == before
    assert db1.sql("SELECT pg_postmaster_start_time()") == running
    assert db1.sql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_buffercache'") == "0"
    kept = db1.run("find", "/var/lib/pgdr/corruption", "-name", "*.block-7").stdout
    assert kept.strip(), "what was overwritten was not kept"
    db1.sql("DROP TABLE notes")
