"""``pgdr``: the entry point.

The sub-commands are imported when they are called, so that one does not pay for all: ``pgdr heartbeat`` runs
each minute. Here, and only here, errors become a line and an exit code.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from pgdr import __version__
from pgdr.cli import output
from pgdr.cli.context import Invocation
from pgdr.edge import exit_code

# Name of the sub-command to the module of this package that holds its `app`, in the order of the help.
COMMANDS: dict[str, str] = {
    "backup": "pgdr.cli.backup",
    "status": "pgdr.cli.status",
    "info": "pgdr.cli.info",
    "verify": "pgdr.cli.verify",
    "rehearse": "pgdr.cli.rehearse",
    "expire": "pgdr.cli.expire",
    "watch": "pgdr.cli.watch",
    "notify": "pgdr.cli.notify",
    "metrics": "pgdr.cli.metrics",
    "report": "pgdr.cli.report",
    "hold": "pgdr.cli.hold",
    "recover": "pgdr.cli.recover",
    "drill": "pgdr.cli.drill",
    "archive": "pgdr.cli.archive",
    "archives": "pgdr.cli.archives",
    "restore": "pgdr.cli.restore",
    "when": "pgdr.cli.when",
    "side": "pgdr.cli.side",
    "repository": "pgdr.cli.repository",
    "corruption": "pgdr.cli.corruption",
    "standby": "pgdr.cli.standby",
    "restore-point": "pgdr.cli.restore_point",
    "cleanup": "pgdr.cli.cleanup",
    "tenant": "pgdr.cli.tenant",
    "erasures": "pgdr.cli.erasures",
    "config-backup": "pgdr.cli.config_backup",
    "fingerprint": "pgdr.cli.fingerprint",
    "heartbeat": "pgdr.cli.heartbeat",
    "journal": "pgdr.cli.journal",
    "kit": "pgdr.cli.kit",
    "policy": "pgdr.cli.policy",
}
_COMPLETION = frozenset({"install_completion", "show_completion"})


class _LazyCommands(MutableMapping[str, Any]):
    """The sub-commands by name; a module is imported when its command is asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            command = get_command(importlib.import_module(COMMANDS[name]).app)
            command.name = name
            # Typer takes each app for a program of its own and offers to install completion for it.
            command.params = [param for param in command.params if param.name not in _COMPLETION]
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


app = typer.Typer(
    name="pgdr",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.result(f"pgdr {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="PGDR_CONFIG",
            help="Host configuration.  [default: /etc/pgdr/host.yml]",
            show_default=False,
            show_envvar=True,
        ),
    ] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what is done.")] = 0,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    """Backup and disaster recovery of one PostgreSQL host.

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 configuration, 4 refused (nothing changed),
    5 not proven, 6 busy, 7 unreachable, 70 a bug.
    """
    logging.basicConfig(
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        level={0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG),
    )
    context.obj = Invocation(config=config, verbose=verbose)
    context.call_on_close(context.obj.close)


def _command() -> Any:
    command = get_command(app)
    if not isinstance(command, TyperGroup):  # pragma: no cover - the callback above makes it a group
        raise TypeError("the root command must be a group")
    command.commands = _LazyCommands()
    return command


def main(argv: list[str] | None = None) -> int:
    """Run ``pgdr`` and return its exit code.

    Args:
        argv: the arguments without the program's name, or ``None`` for this process's own.
    """
    output.open_for_any_name()
    return exit_code(_command(), argv, name="pgdr", say=output.error)


if __name__ == "__main__":
    raise SystemExit(main())
