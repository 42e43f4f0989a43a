"""The erasure ledger: which subjects were erased, kept outside of the database so that no restore brings them back.

It names nobody: a subject is a keyed hash (HMAC-SHA256) of the tenant's id. The key is on the host, readable for the
backup user alone, and encrypted in the recovery kit. Without it the ledger can neither be searched nor guessed; another
one would match nobody, so entries say which key they were made with. They form a hash chain as in :mod:`pgdr.journal`
and are only ever added. :mod:`pgdr.surgery.shipping` keeps the copy off the host.

An erasure writes two entries: ``intended`` before its transaction commits and ``done`` after. A crash in between leaves
an intention whose outcome the server knows; a replay that cannot ask (the database is a restored one) refuses to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pgdr.errors import ConfigError, NotProvenError, RefusedError
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.journal import Entry, Journal

INTENDED, DONE, WITHDRAWN = "intended", "done", "withdrawn"
_KEY_BYTES = 32
_REMEDY_KEY = "bring the key back from the recovery kit: pgdr erasures key --take"


class LedgerCopy(Protocol):
    """A place off this host that keeps the ledger: without it, losing the host would undo erasures."""

    def publish(self) -> None:
        """Bring what is new to the copy, or keep in mind that it could not be: an entry is never lost for it."""
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
        sealed_with: which key made the subject; says nothing about the key.
        sequences: keyed hashes of the names of sequences that do not say whose they are.
    """

    number: int
    at: str
    subject: str
    predicate: str
    state: str
    transaction: tuple[str, str]
    rows: int
    sealed_with: str = ""
    sequences: tuple[str, ...] = ()


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
        self._known_key: bytes | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._journal.path

    def subject(self, tenant: str) -> str:
        """The keyed hash of a tenant's id.

        Raises:
            NotProvenError: the key is missing, or it is not the one that the ledger was written with.
        """
        return _hash(self._verified_key(), tenant)

    def sequence(self, place: tuple[str, str]) -> str:
        """The keyed hash of a sequence's schema and name.

        Raises:
            NotProvenError: the key is missing, or it is not the one that the ledger was written with.
        """
        return _hash(self._verified_key(), "\n".join(("\nsequence", *place)))

    def _verified_key(self) -> bytes:
        if self._known_key is None:
            key = self._key()
            self._require_ours(key)
            self._known_key = key
        return self._known_key

    def require_key(self) -> None:
        """Make sure that the ledger can be read.

        Raises:
            NotProvenError: the key is missing, or it is not the one that the ledger was written with.
        """
        self._verified_key()

    def _require_ours(self, key: bytes) -> None:
        """Refuse a key that would match nobody: a replay with it would find everything in order."""
        foreign = [one for one in self.erasures() if one.sealed_with not in ("", _seal(key))]
        if foreign:
            raise NotProvenError(
                f"erasure {foreign[0].number} of {foreign[0].at} was written with another key than {self._key_path}",
                remedy=_REMEDY_KEY,
            )

    def make_key(self) -> bool:
        """Have a key; returns whether it had to be made.

        Raises:
            NotProvenError: there is a ledger, and its key is missing: a new one would match nobody.
        """
        there = self._key_path.exists()
        self._key()
        return not there

    def take_key(self, text: str) -> bool:
        """Put the key of this ledger in its place; returns whether it was not there.

        Raises:
            RefusedError: it is no key.
            NotProvenError: the ledger was written with another one; nothing was changed.
        """
        try:
            key = bytes.fromhex(text.strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise RefusedError(
                f"this is no key of a ledger: it has {2 * _KEY_BYTES} hexadecimal digits", remedy="nothing was changed"
            )
        self._require_ours(key)
        if self._key_path.exists() and self._key() == key:
            return False
        self._write_key(key)
        self._known_key = None
        return True

    def _key(self) -> bytes:
        """The key; made once, and never again where a ledger exists: it would match nobody."""
        try:
            return bytes.fromhex(self._key_path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            if self._journal.path.exists():
                raise NotProvenError(
                    f"{self._key_path} is missing: the ledger beside it cannot be read without its key",
                    remedy=_REMEDY_KEY,
                ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {self._key_path}: {error}", remedy="run as postgres") from error
        return self._write_key(secrets.token_bytes(_KEY_BYTES))

    def _write_key(self, key: bytes) -> bytes:
        try:
            write_atomically(self._key_path, key.hex() + "\n", 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write {self._key_path}: {error.strerror}", remedy="run as postgres") from error
        return key

    def intend(
        self, subject: str, predicate: str, transaction: tuple[str, str], rows: int, sequences: Sequence[str] = ()
    ) -> int:
        """Write down what is about to be committed, and return the entry's number."""
        entry = self._append(
            INTENDED,
            {
                "subject": subject,
                "predicate": predicate,
                "transaction": transaction[0],
                "cluster": transaction[1],
                "rows": rows,
                "sealed_with": _seal(self._verified_key()),
                **({"sequences": list(sequences)} if sequences else {}),
            },
        )
        return entry.seq

    def conclude(self, number: int, state: str) -> None:
        """Write down how an intention ended."""
        self._append(state, {"erasure": number})

    def _append(self, result: str, details: dict[str, object]) -> Entry:
        entry = self._journal.append(operation="erase", result=result, details=details)
        if self._copy is not None:
            self._copy.publish()
        return entry

    def lines(self) -> list[bytes]:
        """All entries as they stand in the file.

        Raises:
            NotProvenError: the ledger was changed by somebody.
        """
        self._require_whole()
        return self._journal.lines()

    def adopt(self, lines: list[bytes]) -> None:
        """Add entries of this ledger that another host, or this one before it was lost, has written.

        Raises:
            NotProvenError: they do not follow what is here; nothing was changed.
        """
        self._journal.adopt(lines)

    def erasures(self) -> list[Erasure]:
        """All erasures, oldest first.

        Raises:
            NotProvenError: the ledger was changed by somebody.
        """
        self._require_whole()
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
                    str(details.get("sealed_with", "")),
                    tuple(details.get("sequences", ())),
                )
            elif entry.result in {DONE, WITHDRAWN} and details.get("erasure") in found:
                old = found[details["erasure"]]
                found[old.number] = Erasure(**{**old.__dict__, "state": entry.result})
        return list(found.values())

    def _require_whole(self) -> None:
        checked = self._journal.verify()
        if checked.problem is not None:
            raise NotProvenError(
                f"{self.path}, line {checked.problem.line}: {checked.problem.what}",
                remedy="bring back the copy of the ledger; do not open the service before",
            )


def _hash(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _seal(key: bytes) -> str:
    """What tells keys apart. A tenant's id has no line feed in front, so that no subject looks like it."""
    return _hash(key, "\nkey of the erasure ledger")[:16]
