"""The erasure ledger: which subjects were erased, kept outside of the database so that no restore brings them back.

It names nobody: a subject is a keyed hash (HMAC-SHA256) of the tenant's id. The key stays on the host, readable for the
backup user alone; without it the ledger can neither be searched nor guessed. Entries form a hash chain as in
:mod:`pgdr.journal`; they are only ever added.

An erasure writes two entries: ``intended`` before its transaction commits and ``done`` after. A crash in between leaves
an intention whose outcome the server knows; a replay that cannot ask (the database is a restored one) refuses to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pgdr.errors import ConfigError, NotProvenError
from pgdr.files import adopt_owner, sync_directory
from pgdr.hostconfig import HostConfig
from pgdr.journal import Entry, Journal

INTENDED, DONE, WITHDRAWN = "intended", "done", "withdrawn"
_KEY_BYTES = 32


class LedgerCopy(Protocol):
    """A place off this host that keeps the ledger: without it, losing the host would undo erasures."""

    def publish(self, ledger: Path) -> None:
        """Make the copy equal to the file.

        Raises:
            PgdrError: it could not be written.
        """
        ...


@dataclass(frozen=True)
class Erasure:
    """One erasure.

    Attributes:
        number: of the entry that announced it.
        at: when, ISO 8601 in UTC.
        subject: the keyed hash of the tenant's id.
        predicate: which column the id stood in.
        state: ``intended``, ``done`` or ``withdrawn``.
        transaction: its transaction, and the cluster (system identifier and timeline) that it ran in.
        rows: how many rows went.
    """

    number: int
    at: str
    subject: str
    predicate: str
    state: str
    transaction: tuple[str, str]
    rows: int


class Ledger:
    """The ledger of this host.

    Args:
        config: what this host is.
        copy: where a copy is kept off the host, if anywhere.
    """

    def __init__(self, config: HostConfig, copy: LedgerCopy | None = None) -> None:
        self._journal = Journal(config.state_directory / "erasures.jsonl", config.cluster_name)
        self._key_path = config.state_directory / "erasures.key"
        self._copy = copy

    @property
    def path(self) -> Path:
        """The file."""
        return self._journal.path

    def subject(self, tenant: str) -> str:
        """The keyed hash of a tenant's id."""
        return hmac.new(self._key(), tenant.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        """The key; made once, and never again where a ledger exists: it would match nobody."""
        try:
            return bytes.fromhex(self._key_path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            if self._journal.path.exists():
                raise NotProvenError(
                    f"{self._key_path} is missing: the ledger beside it cannot be read without its key",
                    remedy="bring the key back from the recovery kit",
                ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {self._key_path}: {error}", remedy="run as postgres") from error
        content = secrets.token_bytes(_KEY_BYTES)
        try:
            descriptor = os.open(self._key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(content.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            adopt_owner(self._key_path)
            sync_directory(self._key_path.parent)
        except OSError as error:
            raise ConfigError(f"cannot write {self._key_path}: {error.strerror}", remedy="run as postgres") from error
        return content

    def intend(self, subject: str, predicate: str, transaction: tuple[str, str], rows: int) -> int:
        """Write down what is about to be committed, and return the entry's number."""
        entry = self._append(
            INTENDED,
            {
                "subject": subject,
                "predicate": predicate,
                "transaction": transaction[0],
                "cluster": transaction[1],
                "rows": rows,
            },
        )
        return entry.seq

    def conclude(self, number: int, state: str) -> None:
        """Write down how an intention ended."""
        self._append(state, {"erasure": number})

    def _append(self, result: str, details: dict[str, object]) -> Entry:
        entry = self._journal.append(operation="erase", result=result, details=details)
        if self._copy is not None:
            self._copy.publish(self._journal.path)
        return entry

    def erasures(self) -> list[Erasure]:
        """All erasures, oldest first.

        Raises:
            NotProvenError: the ledger was changed by somebody.
        """
        checked = self._journal.verify()
        if checked.problem is not None:
            raise NotProvenError(
                f"{self.path}, line {checked.problem.line}: {checked.problem.what}",
                remedy="bring back the copy of the ledger; do not open the service before",
            )
        found: dict[int, Erasure] = {}
        for entry in self._journal.entries():
            details = entry.details
            if entry.result == INTENDED:
                found[entry.seq] = Erasure(
                    entry.seq,
                    entry.at,
                    str(details["subject"]),
                    str(details["predicate"]),
                    INTENDED,
                    (str(details["transaction"]), str(details["cluster"])),
                    int(details["rows"]),
                )
            elif entry.result in {DONE, WITHDRAWN} and details.get("erasure") in found:
                old = found[details["erasure"]]
                found[old.number] = Erasure(**{**old.__dict__, "state": entry.result})
        return list(found.values())
