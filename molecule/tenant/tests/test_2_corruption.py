"""A disk breaks a table and an index while people work: one play names both, cures both, and no row is lost.

The proof is the load's own ledger again, for every table.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from drill.client import ErpClient
from drill.host import DATA, Host
from drill.running import until

PAGE = 8192
TABLE = "purchase.order_lines"
INDEX = "financial.journal_lines_pkey"
# What the kernel hands the disk; the server must not have the page in memory any more.
BREAK = "import sys; f = open(sys.argv[1], 'r+b'); f.seek(int(sys.argv[2])); f.write(b'a disk wrote this here')"
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
    assert erp.writes
    assert erp.committed() > before, "nobody could work meanwhile"
    until("the load goes on", lambda: erp.committed() > before + 5, 30)
    erp.pause()
    try:
        assert erp.prove("db1", db1.sql("SELECT pg_current_wal_lsn()")).faults == []
    finally:
        erp.resume()
