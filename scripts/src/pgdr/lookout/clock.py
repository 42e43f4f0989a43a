"""This host's clock against that of each object store, asked directly: S3 refuses requests that are 15 minutes off."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime

from pgdr.errors import PgdrError, RefusedError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.lookout.kept import CLOCK, CLOCK_ENDANGERS, CLOCK_REMEDY
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.repositories import ConfiguredRepository
from pgdr.proof.look import now
from pgdr.proof.usual import ago

_TIMEOUT = 3.0
#: Seconds; the date in an answer is whole seconds, and the answer may take some.
_OFF = 60.0
#: From here on S3 itself refuses requests.
_REFUSED = 900.0


def look(config: HostConfig) -> Iterator[Check]:
    """Compare the clocks; a store that does not answer says nothing here."""
    for item, ahead in _asked(config):
        if abs(ahead) <= _OFF:
            yield green(CLOCK, "this host's clock and the repository's agree", item.key)
            continue
        yield Check(
            CLOCK,
            Level.RED,
            f"this host's clock is {ago(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} the repository's",
            item.key,
            endangers=CLOCK_ENDANGERS,
            remedy=CLOCK_REMEDY,
        )


def require_not_ahead(config: HostConfig) -> None:
    """Refuse what removes by age where this host's clock is ahead: all would be past its time at once.

    Raises:
        RefusedError: a store says that it is earlier.
    """
    for item, ahead in _asked(config):
        if -ahead > _REFUSED:
            raise RefusedError(
                f"this host's clock is {ago(-ahead)} ahead of repository {item.key}'s: what is past its time is not "
                "known; nothing was removed",
                remedy=CLOCK_REMEDY,
            )


def _asked(config: HostConfig) -> Iterator[tuple[ConfiguredRepository, float]]:
    try:
        stores = [item for item in PgBackRest(config).repositories if item.type == "s3" and item.endpoint]
    except PgdrError:
        return
    with ThreadPoolExecutor(max_workers=max(1, len(stores))) as pool:
        answers = list(pool.map(_ahead, stores))
    yield from ((item, ahead) for item, ahead in zip(stores, answers, strict=True) if ahead is not None)


def _ahead(item: ConfiguredRepository) -> float | None:
    """Seconds that the store's clock is ahead of this host's; ``None`` where it does not say."""
    context = ssl.create_default_context()
    # Only a date is read, nothing is sent, and a certificate may look expired just because this clock is wrong.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(str(item.endpoint), item.port, timeout=_TIMEOUT, context=context)
    try:
        connection.request("HEAD", "/")
        said = connection.getresponse().getheader("Date")
        there: datetime | None = parsedate_to_datetime(said) if said else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return None if there is None else (there - now()).total_seconds()
