"""Keep what the next step could destroy: the server's words, the control file, the damaged pages as they are."""

from __future__ import annotations

import json
import re
import shutil
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pgdr import process
from pgdr.corruption.control import CONTROL_FILE
from pgdr.corruption.files import BadPage, read_page
from pgdr.corruption.model import Damage, Findings, Kind
from pgdr.errors import RefusedError
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig

_DAMAGE = re.compile(
    r"invalid page|page verification failed|could not read block|could not access status of transaction"
    r"|corrupt|checksum|missing chunk|unexpected chunk|invalid memory alloc|invalid magic number|PANIC"
    r"|could not locate a valid checkpoint|contains unexpected zero page|could not open file",
    re.IGNORECASE,
)
_KEPT_LINES = 200
_PAGES_A_FILE = 1000


def log_files(config: HostConfig, more: Sequence[Path] = ()) -> list[Path]:
    """Where the server writes: Debian's place, its own collector's, and what a person names."""
    debian = Path("/var/log/postgresql").glob(
        f"postgresql-{config.postgresql_version}-{config.postgresql_cluster}.log*"
    )
    own = (config.data_directory / "log").glob("*.log")
    found = {path for path in (*debian, *own) if path.suffix != ".gz"} | set(more)
    return sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime)


def log_lines(files: Iterable[Path]) -> list[str]:
    """The newest lines of the server's logs that speak of damage."""
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    for path in files:
        try:
            with path.open(encoding="utf-8", errors="replace") as handle:
                kept.extend(line.rstrip("\n") for line in handle if _DAMAGE.search(line))
        except OSError as error:
            kept.append(f"{path} cannot be read: {error.strerror}")
    return list(kept)


class Evidence:
    """A new folder of copies.

    Args:
        folder: it must not be there yet, and not lie in the data directory.
        config: this host.

    Raises:
        RefusedError: it is there, or lies where nothing may be written, or cannot be made.
    """

    def __init__(self, folder: Path, config: HostConfig) -> None:
        self.folder = folder
        self._config = config
        if folder.resolve().is_relative_to(config.data_directory.resolve()):
            raise RefusedError(f"{folder} lies in the data directory", remedy="name a folder elsewhere")
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError as error:
            raise RefusedError(f"{folder} exists", remedy="name a new folder: evidence is never overwritten") from error
        except OSError as error:
            raise RefusedError(f"{folder} cannot be made: {error.strerror}", remedy="name another folder") from error

    def first(self, lines: Sequence[str], server: str) -> None:
        """Before anything else is looked at: the server's words, its state, and the control file."""
        data = self._config.data_directory
        write_atomically(self.folder / "server-log.txt", "".join(f"{line}\n" for line in lines), 0o600)
        said = process.run(
            [self._config.program("pg_controldata"), "-D", str(data)], allowed=lambda _: True, env={"LC_ALL": "C"}
        )
        text = f"server: {server}\n\n{said.stdout}{said.stderr}"
        write_atomically(self.folder / "controldata.txt", text, 0o600)
        self._copy(data / CONTROL_FILE)
        listing = "".join(f"{item.stat().st_size:>12} {item.name}\n" for item in sorted((data / "pg_wal").glob("*")))
        write_atomically(self.folder / "wal-files.txt", listing, 0o600)

    def pages(self, bad: Sequence[BadPage], damages: Sequence[Damage], segment_pages: int) -> None:
        """Each damaged page as it is on disk, and each damaged file that has no pages."""
        counted: dict[Path, int] = {}
        for one in bad:
            counted[one.path] = counted.get(one.path, 0) + 1
            if counted[one.path] > _PAGES_A_FILE:
                continue
            name = f"{self._name(one.path)}.block-{one.block}"
            (self.folder / name).write_bytes(read_page(one.path, one.block, segment_pages))
        for damage in damages:
            if damage.kind is Kind.WAL:
                self._copy(self._config.data_directory / damage.file)
            elif damage.forgettable and not damage.page_hit:
                self._blocks(damage, segment_pages)

    def document(self, findings: Findings, more: dict[str, Any] | None = None) -> None:
        """What was found, for whoever reads it later."""
        content = {**findings.document(), **(more or {})}
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        write_atomically(self.folder / "findings.json", text + "\n", 0o600)

    def _blocks(self, damage: Damage, segment_pages: int) -> None:
        """Blocks that are right by their checksum and make no sense."""
        for first in self._config.data_directory.glob(damage.file.replace("/PG/", "/PG_*/")):
            for block in damage.blocks[:_PAGES_A_FILE]:
                number = block // segment_pages
                path = first.with_name(f"{first.name}.{number}") if number else first
                (self.folder / f"{self._name(path)}.block-{block}").write_bytes(read_page(path, block, segment_pages))

    def _copy(self, path: Path) -> None:
        if path.is_file():
            shutil.copyfile(path, self.folder / self._name(path))

    def _name(self, path: Path) -> str:
        try:
            relative = path.relative_to(self._config.data_directory)
        except ValueError:
            relative = Path(*path.parts[1:])
        return "_".join(relative.parts)
