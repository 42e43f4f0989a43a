"""A host's pgBackRest configuration as the role wrote it, and variants of it that differ in one thing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Option = tuple[str, str, str]  # section, name, value
_SECTION = re.compile(r"\[([^\]]+)\]")
_REPOSITORY = re.compile(r"repo(\d+)-(.+)")


@dataclass(frozen=True)
class Configuration:
    """All options of a configuration, in order; a name may come several times."""

    options: tuple[Option, ...]

    @classmethod
    def parse(cls, *texts: str) -> Configuration:
        """Read files of pgBackRest; a later one adds to an earlier one."""
        found: list[Option] = []
        for text in texts:
            section = ""
            for line in (raw.strip() for raw in text.splitlines()):
                if not line or line.startswith("#"):
                    continue
                if match := _SECTION.fullmatch(line):
                    section = match[1]
                    continue
                name, _, value = line.partition("=")
                found.append((section, name.strip(), value.strip()))
        return cls(tuple(found))

    def text(self) -> str:
        """The configuration as a file of pgBackRest."""
        lines: list[str] = []
        for section in dict.fromkeys(section for section, _, _ in self.options):
            lines.append(f"[{section}]")
            lines += [f"{name}={value}" for found, name, value in self.options if found == section]
        return "\n".join(lines) + "\n"

    def without(self, refused: Callable[[Option], bool]) -> Configuration:
        """The same without some options."""
        return Configuration(tuple(option for option in self.options if not refused(option)))

    def repositories(self, paths: Iterable[tuple[int, str]]) -> Configuration:
        """The same with these repositories only, in order from 1 on, each at another path.

        Args:
            paths: number that a repository has now, and the path that it shall have.
        """
        kept: list[Option] = list(self.without(lambda option: _REPOSITORY.fullmatch(option[1]) is not None).options)
        for new, (old, path) in enumerate(paths, start=1):
            for section, name, value in self.options:
                match = _REPOSITORY.fullmatch(name)
                if match is not None and int(match[1]) == old:
                    kept.append((section, f"repo{new}-{match[2]}", path if match[2] == "path" else value))
        return Configuration(tuple(kept))

    def stanza(self, name: str, *, data: str, port: int) -> Configuration:
        """The same for another cluster."""
        rest = self.without(lambda option: not option[0].startswith("global"))
        cluster = (
            (name, "pg1-path", data),
            (name, "pg1-port", str(port)),
            (name, "pg1-socket-path", "/run/postgresql"),
        )
        return Configuration((*rest.options, *cluster))

    def plain_blocks(self) -> Configuration:
        """The same with pgBackRest's own block increments: every file has blocks."""
        return self._with_block("y")

    def no_blocks(self) -> Configuration:
        """The same without block increments."""
        return self._with_block("n")

    def _with_block(self, value: str) -> Configuration:
        rest = self.without(lambda option: option[1].endswith("-block-size-map"))
        return Configuration(
            tuple((s, name, value if re.fullmatch(r"repo\d+-block", name) else old) for s, name, old in rest.options)
        )
