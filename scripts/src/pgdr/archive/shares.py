"""The dump of a schema, made of the full dump of the same snapshot: its files under another folder, with a list.

Reading every row twice would double the time and the size of an archive. So a schema's folder holds the full dump's
own list of contents (``toc.dat``) and the data files of the schema's tables, as hard links, and ``schema.list`` says
which of the contents are the schema's. ``pg_restore`` alone restores it: ``pg_restore --use-list=FOLDER/schema.list``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pgdr import process
from pgdr.archive.dump import client_environment
from pgdr.archive.names import LIST, TOC
from pgdr.hostconfig import HostConfig

_PG_NAMESPACE = 2615
_LINE = re.compile(r"^(?P<id>\d+); (?P<catalog>\d+) (?P<oid>\d+) (?P<text>.*)$")
_DATA_FILE = re.compile(r"^(?P<id>\d+)\.dat(\.\w+)?$")
_LINE_ENDS = re.compile(r"[\r\n]")
_HEAD = """\
; The contents of schema {schema} in the full dump of the same archive. To restore it without pgdr:
; pg_restore --use-list={list} --dbname=DATABASE THIS_FOLDER
"""


@dataclass(frozen=True)
class Share:
    """A schema that gets a folder.

    Attributes:
        name: the schema.
        oid: its number in the catalog.
        owner: its owner.
        folder: the folder that is to be made.
    """

    name: str
    oid: int
    owner: str
    folder: Path


def share_out(
    config: HostConfig, full: Path, shares: Sequence[Share], *, jobs: int, on_tick: Callable[[], None]
) -> None:
    """Make the folders of all schemas.

    Args:
        config: what this host is.
        full: the full dump.
        shares: the schemas.
        jobs: how many lists are read at once.
        on_tick: called after each.

    Raises:
        CommandError: the list of contents cannot be read.
    """
    data = {found["id"]: path for path in full.iterdir() if (found := _DATA_FILE.match(path.name))}
    own = [line for line in _listed(config, full) if f" {_PG_NAMESPACE} " in line or " - SCHEMA " in line]
    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(lambda share: _make(config, full, share, own, data), shares):
            on_tick()


def _make(config: HostConfig, full: Path, share: Share, own: Sequence[str], data: dict[str, Path]) -> None:
    # `--schema` takes names here, not patterns as pg_dump does, and leaves out the schema itself.
    lines = [line for line in own if _is_own(line, share)] + _listed(config, full, f"--schema={share.name}")
    share.folder.mkdir(mode=0o700)
    os.link(full / TOC, share.folder / TOC)
    for line in lines:
        found = _LINE.match(line)
        if found and found["id"] in data and found["text"].startswith("TABLE DATA "):
            os.link(data[found["id"]], share.folder / data[found["id"]].name)
    head = _HEAD.format(schema=_one_line(share.name), list=LIST)
    (share.folder / LIST).write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def _is_own(line: str, share: Share) -> bool:
    """Whether an entry is the schema itself, its comment, privileges or label."""
    found = _LINE.match(line)
    if found is None:
        return False
    if int(found["catalog"]) == _PG_NAMESPACE:
        return int(found["oid"]) == share.oid
    kind, mark, rest = found["text"].partition(" - SCHEMA ")
    return bool(mark) and " " not in kind.removeprefix("SECURITY ") and rest == _one_line(f"{share.name} {share.owner}")


def _listed(config: HostConfig, full: Path, *options: str) -> list[str]:
    done = process.run(
        [config.program("pg_restore"), "--list", "--format=directory", *options, str(full)], env=client_environment()
    )
    # Not splitlines: a name may hold what Python, but not pg_restore, takes for the end of a line.
    return [line for line in done.stdout.split("\n") if _LINE.match(line)]


def _one_line(text: str) -> str:
    """A name as pg_restore writes it into its list."""
    return _LINE_ENDS.sub(" ", text)
