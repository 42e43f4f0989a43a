"""The outermost edge of a command line: every end is an exit code, every expected error one line.

All programs of this repository end here: ``pgdr``, ``pgdr-infra``, and the lab's.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from pgdr.errors import ExitCode, PgdrError
from pgdr.files import DISK, remedy_of

# What click ends with at Ctrl-C: 128 and the signal's number, as shells say it.
_INTERRUPTED = 130


def exit_code(command: Callable[..., object], argv: list[str] | None, *, name: str, say: Callable[[str], None]) -> int:
    """Run a command line to its end.

    Args:
        command: the command as click or typer made it.
        argv: the arguments without the program's name, or ``None`` for this process's own.
        name: the program's name, for its help.
        say: takes the one line of an expected error.

    Returns:
        One of :class:`~pgdr.errors.ExitCode`, whatever happened.
    """
    try:
        command(args=argv, prog_name=name)
    except PgdrError as error:
        say(str(error))
        return int(error.exit_code)
    except SystemExit as end:
        return _own_code(end, say)
    except OSError as error:
        if error.errno not in DISK:
            return _bug()
        say(f"{error.filename or 'a file'}: {error.strerror} ({remedy_of(error)})")
        return int(ExitCode.FAILED)
    except Exception:  # noqa: BLE001 - the last line of defence: a bug ends with a traceback and its own code
        return _bug()
    return int(ExitCode.OK)


def _bug() -> int:
    traceback.print_exc(file=sys.stderr)
    sys.stderr.write("this is a bug: please report it with the lines above\n")
    return int(ExitCode.BUG)


def _own_code(end: SystemExit, say: Callable[[str], None]) -> int:
    """Keep our codes below 126: higher ones have a meaning of their own to shells and to PostgreSQL."""
    if end.code is None:
        return int(ExitCode.OK)
    if end.code == _INTERRUPTED:
        say("interrupted")
        return int(ExitCode.FAILED)
    return end.code if isinstance(end.code, int) else int(ExitCode.FAILED)
