"""Break what lies on the disk of a production, and have pgdr look at it and cure it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgdr.errors import ExitCode

if TYPE_CHECKING:
    from scripts.tests.integration.chain import World
    from scripts.tests.integration.conftest import Cluster

PAGE = 8192


def file_of(cluster: Cluster, relation: str, database: str = "erp") -> Path:
    cluster.execute("checkpoint", database)
    return cluster.data / str(cluster.value(f"select pg_relation_filepath($rel${relation}$rel$)", database))


def damage(path: Path, chance: random.Random, block: int | None = None) -> int:
    """Overwrite some bytes of one block, and return which one."""
    blocks = path.stat().st_size // PAGE
    block = chance.randrange(blocks) if block is None else block
    with path.open("r+b") as file:
        file.seek(block * PAGE + chance.randrange(24, PAGE - 64))
        file.write(chance.randbytes(64))
    return block


def examine(world: World, *more: str, expect: int = ExitCode.NOT_PROVEN) -> dict[str, Any]:
    done = world.pgdr("corruption", "examine", "--output", "json", *more, expect=expect)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cure(world: World, *more: str, expect: int = 0) -> dict[str, Any]:
    done = world.pgdr(
        "corruption", "cure", "--confirm", world.host.cluster_name, "--output", "json", *more, expect=expect
    )
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return found


def the_one(found: dict[str, Any]) -> dict[str, Any]:
    [one] = found["damages"]
    assert isinstance(one, dict)
    return one
