"""The interface of a role as its three witnesses tell it: argument specs, defaults and README.

Run as a program it renews the table of variables in each README that has a place for it:
``python scripts/tests/contract/role_interface.py --write``.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
START, END = "<!-- variables -->", "<!-- /variables -->"
REQUIRED = "required"
# A row of a table of variables: its first cell is a variable in backticks.
_ROW = re.compile(r"^\| `([a-z0-9_]+)` \|(.*)\|\s*$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")


class _Loader(yaml.SafeLoader):
    """Reads Ansible's YAML: a tag such as !vault becomes the plain value behind it."""


def _untagged(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _untagged)


@functools.cache
def read_yaml(path: Path) -> Any:
    """Return the content of one of Ansible's YAML files; nobody changes what comes back."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader


@dataclass(frozen=True)
class Role:
    """One role below ``roles/``.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The role's name."""
        return self.folder.name

    @property
    def entry_points(self) -> dict[str, dict[str, Any]]:
        """The entry points that argument_specs.yml declares, with their options."""
        specs = read_yaml(self.folder / "meta" / "argument_specs.yml")["argument_specs"]
        return {name: spec.get("options") or {} for name, spec in specs.items()}

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """All options of all entry points."""
        return {name: option for options in self.entry_points.values() for name, option in options.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """What defaults/main.yml gives."""
        path = self.folder / "defaults" / "main.yml"
        return (read_yaml(path) or {}) if path.exists() else {}

    @property
    def readme(self) -> Path:
        """The role's README."""
        return self.folder / "README.md"

    def files(self, *folders: str) -> Iterator[Path]:
        """Return the role's files in some of its folders."""
        for folder in folders:
            yield from sorted(path for path in (self.folder / folder).rglob("*") if path.is_file())

    def in_entry_points(self, option: str) -> str:
        """The entry points that take an option; ``all`` where each of several does."""
        taking = [name for name, options in self.entry_points.items() if option in options]
        meaningful = [name for name, options in self.entry_points.items() if options]
        return "all" if taking == meaningful and len(taking) > 1 else ", ".join(taking)


def all_roles() -> list[Role]:
    """Return every role of the project."""
    return [Role(path.parent.parent) for path in sorted(ROOT.glob("roles/*/tasks/main.yml"))]


def default_text(option: dict[str, Any]) -> str:
    """What the README says of an option's default."""
    if option.get("required"):
        return REQUIRED
    if "default" not in option:
        return "none"
    default = option["default"]
    text = default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False)
    return f"`{text}`".replace("|", "\\|")


def table(role: Role) -> str:
    """Return the table of a role's variables, with the options of list and dict variables below each."""
    lines = ["| variable | entry points | default | meaning |", "|---|---|---|---|"]
    for name, option in role.options.items():
        cells = [f"`{name}`", role.in_entry_points(name), default_text(option), _meaning(option)]
        lines.append(f"| {' | '.join(cells)} |")
        for inner, detail in (option.get("options") or {}).items():
            need = REQUIRED if detail.get("required") else ""
            lines.append(f"| &nbsp;&nbsp;`.{inner}` | | {need} | {_meaning(detail)} |")
    return "\n".join(lines)


def _meaning(option: dict[str, Any]) -> str:
    described = option.get("description", "")
    text = " ".join(described) if isinstance(described, list) else str(described)
    choices = option.get("choices")
    if choices:
        text = f"{text} One of {', '.join(f'`{choice}`' for choice in choices)}."
    return " ".join(text.split()).replace("|", "\\|")


def readme_rows(text: str) -> dict[str, list[str]]:
    """Return the cells after the name for each variable that has a row of its own."""
    return {found.group(1): [cell.strip() for cell in _CELLS.split(found.group(2))] for found in _ROW.finditer(text)}


def renew(role: Role) -> bool:
    """Write the table into the README's place for it; tell whether it had one."""
    text = role.readme.read_text(encoding="utf-8") if role.readme.exists() else ""
    if START not in text or END not in text:
        return False
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    role.readme.write_text(f"{before}{START}\n{table(role)}\n{END}{after}", encoding="utf-8")
    return True


def main() -> int:
    """Renew the READMEs with ``--write``; otherwise print each role's table."""
    for role in all_roles():
        if "--write" in sys.argv[1:]:
            sys.stdout.write(f"{role.name}: {'renewed' if renew(role) else 'no place for a table'}\n")
        else:
            sys.stdout.write(f"## {role.name}\n{table(role)}\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
