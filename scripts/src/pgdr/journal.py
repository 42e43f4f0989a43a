"""The record of every operation: append-only JSON lines, each bound to the one before by its hash.

``journal.jsonl`` holds one entry a line. ``journal.head`` beside it holds number and hash of the last one, so
that a cut-off end shows too. A chain proves that nothing in the middle was changed; against someone who can
rewrite all of it on this host only the copy off the host helps.

A crash can leave an incomplete last line. Rule: the next append moves it to ``journal.jsonl.torn`` and says so
in an entry of its own; nothing is thrown away.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from pgdr.chain import Entry, Head, canonical, fault, parse
from pgdr.errors import BusyError, ConfigError, NotProvenError, OperationFailedError
from pgdr.files import adopt_owner, append_whole, drafted, remedy_of, sync_directory
from pgdr.hostconfig import HostConfig
from pgdr.redaction import is_secret_name, redact

__all__ = ["Entry", "Journal", "Problem", "SecretRefusedError", "Verification"]

_LOCK_TIMEOUT = 60.0
_TAIL = 1 << 16


class SecretRefusedError(ValueError):
    """A caller tried to write a secret into the journal: a bug, not something a user can act on."""


@dataclass(frozen=True)
class Problem:
    """The first thing that is wrong with a journal.

    Attributes:
        line: line number in the file, 1 for the first; one past the end where something is missing there.
        what: what is wrong with it.
    """

    line: int
    what: str


@dataclass(frozen=True)
class Verification:
    """What a check of the whole journal found.

    Attributes:
        entries: how many entries are good, up to the problem.
        problem: the first bad entry, if there is one.
        head: hash of the last good entry: the anchor to keep elsewhere.
    """

    entries: int
    problem: Problem | None
    head: str


@dataclass
class _Tail:
    """The end of the file: the last whole line, and what was written after it."""

    last: Entry | None = None
    torn_at: int | None = None
    torn: bytes = field(default=b"", repr=False)


class Journal:
    """A journal file and its head.

    Args:
        path: the file; it and its lock are created at the first append.
        cluster: consent name that entries get unless they bring their own.
    """

    def __init__(self, path: Path, cluster: str = "") -> None:
        self.path = path
        self.cluster = cluster
        self._head_path = path.with_name(path.stem + ".head")
        self._torn_path = path.with_name(path.name + ".torn")
        self._lock_path = path.with_name(path.stem + ".lock")

    @classmethod
    def of(cls, config: HostConfig) -> Self:
        """The journal of a host."""
        return cls(config.journal_path, config.cluster_name)

    def append(
        self,
        *,
        operation: str,
        result: str,
        details: Mapping[str, Any] | None = None,
        times: Mapping[str, float] | None = None,
        cluster: str | None = None,
    ) -> Entry:
        """Write an entry; when this returns, it is on disk.

        Args:
            operation: what was done.
            result: how it ended.
            details: plain values, lists and mappings.
            times: measured seconds by phase.
            cluster: consent name of the cluster, where it is not this journal's.

        Raises:
            SecretRefusedError: a key of ``details`` announces a secret.
            ConfigError: the journal's folder is missing or not writable.
            BusyError: another process has held the journal for a minute.
        """
        plain = _plain(details or {}, "details")
        measured = {name: round(float(seconds), 3) for name, seconds in (times or {}).items()}
        with self._writing() as head:
            return self._write(head, operation, result, plain, measured, self.cluster if cluster is None else cluster)

    def adopt(self, lines: Sequence[bytes]) -> None:
        """Add entries as they stand in a copy of this journal; all or none.

        Args:
            lines: whole lines, the first of which follows what is here.

        Raises:
            NotProvenError: one does not follow the one before it; nothing was changed.
            ConfigError: the journal's folder is missing or not writable.
            BusyError: another process has held the journal for a minute.
        """
        with self._writing() as here:
            last = here
            for line in lines:
                what = fault(line, last)
                entry = parse(line)
                if what is not None or entry is None:
                    raise NotProvenError(
                        f"what is to be added to {self.path} does not follow it: {what}", remedy="nothing was changed"
                    )
                last = Head(entry.seq, entry.hash)
            if lines:
                self._extend(b"".join(lines), last)

    def replace(self, lines: Sequence[bytes]) -> str:
        """Put another journal in this one's place; what is here is kept beside it.

        Args:
            lines: whole lines, proven to be a chain; none for an empty journal.

        Returns:
            The name of the file that has the old entries; empty where there were none.

        Raises:
            ConfigError: the journal's folder is missing or not writable.
            BusyError: another process has held the journal for a minute.
        """
        with self._held():
            aside = ""
            if self.path.exists():
                aside = f"{self.path.name}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
                self.path.rename(self.path.with_name(aside))
            self._head_path.unlink(missing_ok=True)
            last = parse(lines[-1]) if lines else None
            if last is not None:
                self._extend(b"".join(lines), Head(last.seq, last.hash))
            sync_directory(self.path.parent)
            return aside

    @contextmanager
    def _writing(self) -> Iterator[Head]:
        """Hold the journal for a block that adds to it, and say what the next entry follows."""
        with self._held():
            yield self._repair()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes away from the journal for a block."""
        if not self.path.parent.is_dir():  # the lock library would create it, owned by whoever came first
            raise ConfigError(f"cannot write {self.path}: its folder is missing", remedy="run the role pgdr")
        try:
            with self._lock():
                yield
        except Timeout as error:
            raise BusyError(f"another process holds {self._lock_path}", remedy="run again") from error
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}", remedy=remedy_of(error)) from error

    def lines(self) -> list[bytes]:
        """The entries as they stand in the file; an incomplete last line is left out."""
        return [line for _number, line in self._lines() if line.endswith(b"\n")]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries from the first on; an incomplete last line is left out.

        Raises:
            OperationFailedError: a line is not an entry.
        """
        for number, line in self._lines():
            if not line.endswith(b"\n"):
                return
            entry = parse(line)
            if entry is None:
                raise OperationFailedError(
                    f"{self.path}, line {number} is not a journal entry", remedy="see pgdr journal verify"
                )
            yield entry

    def verify(self) -> Verification:
        """Follow the chain from the first entry to the head and stop at the first thing that is wrong."""
        return self.read()[0]

    def read(self) -> tuple[Verification, list[Entry]]:
        """Follow the chain, and return the good entries too: a status reads years of them, and reads them once."""
        good = Head()
        entries: list[Entry] = []
        number = 0
        for number, line in self._lines():
            what = fault(line, good)
            if what is not None:
                return Verification(good.seq, Problem(number, what), good.hash), entries
            entry = parse(line)
            assert entry is not None  # noqa: S101 - fault() has just said so
            entries.append(entry)
            good = Head(entry.seq, entry.hash)
        what = self._fault_of_end(good)
        return Verification(good.seq, None if what is None else Problem(number + 1, what), good.hash), entries

    def _fault_of_end(self, last: Head) -> str | None:
        head = self._read_head()
        if head is None:
            return f"{self._head_path.name} is missing: a cut-off end would not show" if last.seq else None
        if head.seq > last.seq:
            return f"{head.seq - last.seq} entries are missing at the end, up to number {head.seq}"
        # A crash between entry and head leaves the head one behind; the next append puts it right.
        if last.seq - head.seq > 1:
            return f"entries after number {head.seq} were not written by pgdr"
        if head.seq == last.seq and head.hash != last.hash:
            return f"entry {last.seq} is not the one that was written: the chain was rewritten"
        return None

    def _lock(self) -> FileLock:
        lock = FileLock(self._lock_path, timeout=_LOCK_TIMEOUT, mode=0o660)
        if not self._lock_path.exists() and os.geteuid() == 0:
            with lock:
                adopt_owner(self._lock_path)
        return lock

    def _repair(self) -> Head:
        """Bring file and head together after a crash and return what the next entry follows."""
        tail = self._read_tail()
        head = self._read_head()
        last = tail.last
        if head is None:
            head = Head() if last is None else Head(last.seq, last.hash)
            if last is not None:
                head = self._note(head, {"repaired": f"{self._head_path.name} was missing"})
        elif last is not None and last.seq == head.seq + 1 and fault(last.line().encode(), head) is None:
            head = Head(last.seq, last.hash)
            self._extend(b"", head)  # else a second entry would be two ahead, and look like somebody else's
        if tail.torn_at is not None:
            self._set_torn_aside(tail)
            head = self._note(
                head,
                {"repaired": "incomplete last line", "bytes": len(tail.torn), "moved_to": self._torn_path.name},
            )
        return head

    def _note(self, head: Head, details: dict[str, Any]) -> Head:
        entry = self._write(head, "journal-repair", "ok", details, {}, self.cluster)
        return Head(entry.seq, entry.hash)

    def _set_torn_aside(self, tail: _Tail) -> None:
        with self._torn_path.open("ab") as aside:
            aside.write(tail.torn + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        adopt_owner(self._torn_path)
        with self.path.open("r+b") as file:
            file.truncate(tail.torn_at)
            os.fsync(file.fileno())

    def _write(
        self,
        head: Head,
        operation: str,
        result: str,
        details: dict[str, Any],
        times: dict[str, float],
        cluster: str,
    ) -> Entry:
        unsigned = Entry(
            seq=head.seq + 1,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            actor=actor(),
            host=socket.gethostname(),
            operation=operation,
            cluster=cluster,
            result=result,
            details=details,
            times=times,
            prev_hash=head.hash,
        )
        entry = Entry(**{**asdict(unsigned), "hash": unsigned.computed_hash()})
        self._extend(entry.line().encode(), Head(entry.seq, entry.hash))
        return entry

    def _extend(self, content: bytes, head: Head) -> None:
        """Write whole lines at the end, and which entry is the last one now: on a full disk neither of them."""
        new = not self.path.exists()
        with drafted(self._head_path, canonical({"seq": head.seq, "hash": head.hash}) + "\n") as settle:
            append_whole(self.path, content)
            if new:
                adopt_owner(self.path)
                sync_directory(self.path.parent)
            settle()

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self.path.open("rb") as file:
                yield from enumerate(file, start=1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _read_tail(self) -> _Tail:
        """Read the last whole line, and what follows it, from the end of the file."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return _Tail()
        with file:
            size = file.seek(0, os.SEEK_END)
            window = _TAIL
            while True:
                start = max(0, size - window)
                file.seek(start)
                chunk = file.read()
                end = chunk.rfind(b"\n")
                begin = chunk.rfind(b"\n", 0, max(end, 0))
                if start == 0 or (end >= 0 and begin >= 0):
                    break
                window *= 4
        torn = chunk[end + 1 :]
        last = parse(chunk[begin + 1 : end + 1]) if end >= 0 else None
        return _Tail(last, size - len(torn) if torn else None, torn)

    def _read_head(self) -> Head | None:
        try:
            content = json.loads(self._head_path.read_text(encoding="utf-8"))
            return Head(int(content["seq"]), str(content["hash"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._head_path, error) from error
        except (ValueError, KeyError, TypeError):
            # Written atomically, so no crash leaves it half: somebody did.
            return None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot read {path}: {error.strerror}", remedy=remedy_of(error, "run as postgres"))


def _plain(value: Any, where: str) -> Any:
    """Return a value that JSON can carry, without secrets."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: keys must be text")
            if is_secret_name(key):
                raise SecretRefusedError(f"{where}.{key} announces a secret: it must not be written down")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{where}: {type(value).__name__} cannot be written to the journal")


def actor() -> str:
    """Who asked: behind sudo the person, not the account."""
    behind = os.environ.get("SUDO_USER")
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.geteuid())
    return f"{behind} as {account}" if behind and behind != account else account
