"""Where pgBackRest's asynchronous archiver notes what it has stored, and from when on it would store nothing."""

from __future__ import annotations

import re
from pathlib import Path

from pgdr.errors import ConfigError

_DEFAULT = Path("/var/spool/pgbackrest")
_OPTION = r"^\s*{name}\s*=\s*(\S.*?)\s*$"


def acknowledgements(config: Path, stanza: str) -> Path:
    """The folder of the notes of a stanza: one ``SEGMENT.ok`` for each segment that is believed to be stored.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    return Path(_last_value(config, "spool-path") or _DEFAULT) / "archive" / stanza / "out"


def queue_limit(config: Path) -> str | None:
    """How much WAL may wait before pgBackRest reports it as archived and throws it away; ``None`` for no such limit.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    return _last_value(config, "archive-push-queue-max")


def _last_value(config: Path, name: str) -> str | None:
    """The last value of an option in the main file and ``conf.d``, in whatever section."""
    option = re.compile(_OPTION.format(name=re.escape(name)), re.MULTILINE)
    value = None
    for path in (config, *sorted((config.parent / "conf.d").glob("*.conf"))):
        try:
            found = option.findall(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="run as postgres or root") from error
        value = found[-1] if found else value
    return value
