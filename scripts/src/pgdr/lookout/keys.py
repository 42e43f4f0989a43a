"""Stored keys of buckets: how long this host has used each, and when it is due for another one.

A key's file says nothing of its age: every run of the role may write it anew. So the first look at a key notes a
fingerprint of it and the time, and only another key begins anew. What is lost with the host is counted from then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field

from pgdr.errors import PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.repositories import AccessKey, access_key, reader_key
from pgdr.policy.model import Policy
from pgdr.proof.usual import ago
from pgdr.statefile import State, StateFile

_RUNBOOK = 'playbooks/README.md, "A key is due"'


class Known(State):
    """A key that was seen.

    Attributes:
        fingerprint: says whether it is the same one, and nothing else of it.
        since: when it was first seen.
    """

    fingerprint: str
    since: datetime


class Keys(State):
    """The keys of this host, by what they are."""

    known: dict[str, Known] = Field(default_factory=dict)


@dataclass(frozen=True)
class StoredKey:
    """One stored key.

    Attributes:
        name: the finding's name.
        what: whose it is, for a person.
        repository: the repository's key.
        since: since when this host uses it.
        due: when it has been used for as long as the policy allows.
    """

    name: str
    what: str
    repository: int
    since: datetime
    due: datetime


def keys_file(config: HostConfig) -> StateFile[Keys]:
    """The keys that this host has seen."""
    return StateFile(config.state_directory / "keys.json", Keys)


def look(config: HostConfig, policy: Policy, now: datetime) -> list[StoredKey]:
    """Look at every stored key, and note those that are new.

    Raises:
        ConfigError: configuration or state cannot be read.
    """
    found = {(name, what, number): _fingerprint(key) for name, what, number, key in _stored(config, policy)}
    longest = timedelta(seconds=policy.compliance.longest_key_age.seconds)
    seen: list[StoredKey] = []
    with keys_file(config).change() as state:
        before, state.known = state.known, {}
        for (name, what, number), fingerprint in found.items():
            known = before.get(what)
            if known is None or known.fingerprint != fingerprint:
                _note(config, what, known, now)
                known = Known(fingerprint=fingerprint, since=now)
            state.known[what] = known
            seen.append(StoredKey(name, what, number, known.since, known.since + longest))
    return seen


def judge(key: StoredKey, policy: Policy, now: datetime) -> Check:
    """Say what a key's age means."""
    warned = key.due - timedelta(seconds=policy.compliance.key_age_warning.seconds)
    used = f"{key.what} is in use since {key.since:%Y-%m-%d}"
    if now < warned:
        return green(key.name, f"{used}, and due for another one on {key.due:%Y-%m-%d}", key.repository)
    over = now >= key.due
    left = (key.due - now).total_seconds()
    return Check(
        key.name,
        Level.RED if over else Level.AMBER,
        f"{used}; {policy.compliance.longest_key_age} are allowed"
        + (f", and over for {ago(-left)}" if over else f", and {ago(left)} are left"),
        key.repository,
        since=warned,
        endangers="the repository: who copied this key without being noticed still has it",
        remedy=f"make another one, put it into the vault, run site.yml, then delete this one: {_RUNBOOK}",
    )


def unknown(error: PgdrError) -> Check:
    """Say that nobody could look."""
    return Check(
        "key-age",
        Level.AMBER,
        f"the age of stored keys is not known: {error.message}",
        endangers="that somebody hears when one is due",
        remedy=error.remedy,
    )


def _stored(config: HostConfig, policy: Policy) -> Iterator[tuple[str, str, int, AccessKey]]:
    for named in policy.s3_repositories:
        own = access_key(config.pgbackrest_config, config.stanza, named.id)
        # A session's key is renewed by whoever made it.
        if own is not None and own.token is None:
            yield "key-age", f"the host's key of repository {named.id}", named.id, own
        reader = reader_key(config.pgbackrest_config, config.stanza, named.id)
        if reader is not None:
            yield "key-age-reader", f"the reader's key of repository {named.id}", named.id, reader


def _fingerprint(key: AccessKey) -> str:
    # Half a hash of a random secret leads nobody back to it.
    return hashlib.sha256(f"{key.key}\0{key.secret}".encode()).hexdigest()[:32]


def _note(config: HostConfig, what: str, before: Known | None, now: datetime) -> None:
    """Write a rotation down: an auditor asks for it."""
    if before is None:
        return
    days = (now - before.since).days
    Journal.of(config).append(operation="key changed", result="ok", details={"key": what, "days_in_use": days})
