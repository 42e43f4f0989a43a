"""Keys and values that a policy must not hold, and what to write instead.

The model refuses every key that it does not know. For the ones that people are likely to try, the refusal
explains itself here: secrets, options that would break a live repository, and templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pgdr.policy.text import shown

_SECRET = re.compile(
    r"pass(word|wd|phrase)?$|^pass|secret|token|credential|private_?key|(access|api|s3|encryption|cipher)_?key"
    r"|webhook|^dsn$|conninfo",
    re.IGNORECASE,
)
VAULT_REMEDY = "move it to vault.yml of the inventory; the policy is no place for secrets"

_LIVE = "pgBackRest cannot read what a rule moved or removed; long retention belongs under archives.cloud"
_WITH_ITS_FULL = "pgBackRest keeps increments and WAL as long as a full backup needs them; remove the key"
# By the end of the path; a list index is written as *.
_EXPLAINED: dict[tuple[str, ...], str] = {
    ("repositories", "*", "storage_class"): _LIVE,
    ("repositories", "*", "transition"): _LIVE,
    ("repositories", "*", "transitions"): _LIVE,
    ("repositories", "*", "lifecycle"): _LIVE,
    ("repositories", "*", "expiration"): _LIVE,
    ("repositories", "*", "retention", "wal"): _WITH_ITS_FULL,
    ("repositories", "*", "retention", "archive"): _WITH_ITS_FULL,
    ("repositories", "*", "retention", "incremental"): _WITH_ITS_FULL,
    ("repositories", "*", "retention", "incr"): _WITH_ITS_FULL,
    ("repositories", "*", "retention", "differential"): _WITH_ITS_FULL,
    ("repositories", "*", "retention", "diff"): _WITH_ITS_FULL,
    ("cluster", "postgresql_versions"): "one policy protects one cluster; write postgresql_version",
}


def looks_like_secret(key: str) -> bool:
    """Whether a key that the model does not know is probably meant to hold a secret."""
    return _SECRET.search(key) is not None


def explanation(path: Sequence[str | int]) -> str | None:
    """Return what to do instead of a key that the model does not know, if that is known."""
    return _EXPLAINED.get(tuple("*" if isinstance(part, int) else part for part in path))


def bad_values(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path of each value that is no value yet, with what is wrong with it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from bad_values(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from bad_values(inner, (*path, index))
    elif isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield path, "is a template; the policy is also read without Ansible: write the value itself"
        elif re.search(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b", value) or "PRIVATE KEY-----" in value:
            yield path, f"holds a secret; {VAULT_REMEDY}"
        elif re.search(r"change.?me|^<.*>$|^(todo|tbd|xxx+|fill.?me.*)$", value, re.IGNORECASE):
            yield path, f"{shown(value)} is a placeholder: write the value, or leave the key out where it is optional"
