"""Names of archives and of what is in them, and names of the database for PostgreSQL's own programs.

A name from a database goes three ways out of here, and each has its own quoting: into a file name, into a pattern
of ``pg_dump`` and into a connection string. None of them is ever text that a shell reads.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote, unquote

MANIFEST = "manifest.json"
VERIFIED = "verified.json"
FULL = "full"
# In a dump: the list of contents that pg_dump writes, and which of it is a schema's.
TOC = "toc.dat"
LIST = "schema.list"
_LABEL = "%Y%m%d_%H%M%S"
_LABEL_SHAPE = re.compile(r"^\d{8}_\d{6}$")
_PARTIAL_SHAPE = re.compile(r"^\.(\d{8}_\d{6})\.(partial|fetching|deleting|restoring)$")
_NAME_BYTES = 63


def label_of(moment: datetime) -> str:
    """The label of an archive that begins now, in UTC: ``20251124_030000``."""
    return moment.astimezone(UTC).strftime(_LABEL)


def moment_of(label: str) -> datetime:
    """When an archive was begun."""
    return datetime.strptime(label, _LABEL).replace(tzinfo=UTC)


def is_label(text: str) -> bool:
    """Whether this is the label of an archive."""
    if _LABEL_SHAPE.match(text) is None:
        return False
    try:
        moment_of(text)
    except ValueError:
        return False
    return True


def working_name(label: str, state: str) -> str:
    """Name of a folder that is work in hand: ``partial``, ``fetching``, ``deleting`` or ``restoring``."""
    return f".{label}.{state}"


def working_label(folder: str) -> str | None:
    """The label that a folder of an archive that is not whole belongs to, or ``None`` for another folder."""
    found = _PARTIAL_SHAPE.match(folder)
    return found[1] if found else None


def dump_name(schema: str | None, label: str) -> str:
    """Name of a dump's folder; ``None`` is the whole database.

    Letters, digits, dot, dash and underscore stay, everything else becomes ``%XX``. A schema that is itself called
    ``full`` must not take the place of the full dump.
    """
    if schema is None:
        return f"{FULL}_{label}.dump"
    word = quote(schema, safe="").replace("~", "%7E")
    if word in {FULL, "."} or word.startswith("."):
        word = f"%{ord(word[0]):02X}{word[1:]}"
    return f"{word}_{label}.dump"


def schema_of(dump: str, label: str) -> str:
    """The schema that a dump's folder was named after."""
    return unquote(dump.removesuffix(f"_{label}.dump"))


def exact_pattern(name: str) -> str:
    """A pattern for ``pg_dump`` that matches this name and no other: in double quotes no character is special."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def with_suffix(name: str, suffix: str) -> str:
    """A name of a database object with something at its end, cut so that it stays within 63 bytes."""
    room = _NAME_BYTES - len(suffix.encode())
    return name.encode()[:room].decode(errors="ignore") + suffix
