"""Filters that look at secrets and answer without one: names of keys, never their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SHORTEST_PASSPHRASE = 16
# What pgBackRest's configuration file cannot hold: it trims values, and a line break would begin a new option.
_READER = ("reader_key", "reader_key_secret")
_NAMES = ("cipher_pass", "s3_key", "s3_key_secret", *_READER)


def pgbackrest_secrets_of(secrets: Mapping[Any, Any], repository: Mapping[str, Any]) -> dict[str, str]:
    """Return the secrets of one repository, whether the inventory wrote its id as 1 or as "1"."""
    key = int(repository["id"])
    given = secrets.get(key, secrets.get(str(key))) or {}
    return {name: str(value) for name, value in given.items() if value}


def pgbackrest_secret_problems(secrets: Mapping[Any, Any], repository: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the secrets of one repository, in words that hold no secret."""
    given = pgbackrest_secrets_of(secrets, repository)
    problems = [f"{name} is missing" for name in _needed(repository, given) if name not in given]
    problems += [f"{name} is not a key that the role knows" for name in sorted(given) if name not in _NAMES]
    problems += [
        f"{name} must be one line without blanks at its ends"
        for name, value in sorted(given.items())
        if value != value.strip() or len(value.splitlines()) != 1
    ]
    if given.get("reader_key") and given["reader_key"] == given.get("s3_key"):
        problems.append("reader_key is the writer's: it can do more than read")
    if 0 < len(given.get("cipher_pass", "")) < _SHORTEST_PASSPHRASE:
        problems.append(f"cipher_pass is shorter than {_SHORTEST_PASSPHRASE} characters")
    return problems


def pgbackrest_readers(repositories: Sequence[Mapping[str, Any]], secrets: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return the repositories in buckets that have a key with which they can only be read, each with that key."""
    found = [
        {"id": int(one["id"]), **pgbackrest_secrets_of(secrets, one)} for one in repositories if one.get("type") == "s3"
    ]
    return sorted((one for one in found if "reader_key" in one), key=lambda one: int(one["id"]))


def _needed(repository: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    needed = [] if repository.get("cipher") == "none" else ["cipher_pass"]
    if repository.get("type") == "s3" and (repository.get("key_type") or "shared") == "shared":
        needed += ["s3_key", "s3_key_secret"]
    if any(name in given for name in _READER):
        needed += _READER
    return needed


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "pgbackrest_readers": pgbackrest_readers,
            "pgbackrest_secret_problems": pgbackrest_secret_problems,
            "pgbackrest_secrets_of": pgbackrest_secrets_of,
        }
