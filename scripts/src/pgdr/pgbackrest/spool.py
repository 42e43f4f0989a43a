"""Where pgBackRest's asynchronous archiver notes what it has stored."""

from __future__ import annotations

import re
from pathlib import Path

from pgdr.errors import ConfigError

_DEFAULT = Path("/var/spool/pgbackrest")
_OPTION = re.compile(r"^\s*spool-path\s*=\s*(?P<path>\S.*?)\s*$", re.MULTILINE)


def acknowledgements(config: Path, stanza: str) -> Path:
    """The folder of the notes of a stanza: one ``SEGMENT.ok`` for each segment that is believed to be stored.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    spool = _DEFAULT
    for path in (config, *sorted((config.parent / "conf.d").glob("*.conf"))):
        try:
            found = _OPTION.search(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="run as postgres or root") from error
        if found is not None:
            spool = Path(found["path"])
    return spool / "archive" / stanza / "out"
