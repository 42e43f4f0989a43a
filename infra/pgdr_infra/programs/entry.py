"""How a program starts: an expected error is one line, before any resource."""

from __future__ import annotations

from collections.abc import Callable

import pulumi

from pgdr.errors import PgdrError


def run(program: Callable[[], None]) -> None:
    """Run a program; Pulumi shows an expected error as its one line and no traceback.

    Raises:
        pulumi.RunError: the configuration is wrong.
    """
    try:
        program()
    except PgdrError as error:
        raise pulumi.RunError(" ".join(str(error).split())) from error
