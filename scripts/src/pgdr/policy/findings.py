"""What is wrong with a policy, one line each: the key's path, the trouble, the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pgdr.errors import ConfigError

ROOT = "recovery_policy"


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: an error refuses the policy, a warning is shown.
        path: the key, such as ``recovery_policy.repositories[1].retention.full``.
        message: what is wrong, in one line.
        remedy: what to do, or an empty string where the message says it.
    """

    severity: Severity
    path: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


def error(path: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that refuses the policy."""
    return Finding(Severity.ERROR, path, message, remedy)


def warning(path: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that is shown."""
    return Finding(Severity.WARNING, path, message, remedy)


class PolicyError(ConfigError):
    """A policy that cannot be used. Each finding is one line of the message.

    Attributes:
        source: the file, or an empty string where the policy did not come from one.
        findings: what is wrong with it.
    """

    def __init__(self, source: str, findings: Iterable[Finding]) -> None:
        self.source = source
        self.findings = tuple(findings)
        lines = [str(finding) for finding in self.findings]
        # One line a problem where lines are kept, and still readable where they are joined.
        super().__init__((f"{source}: " if source else "") + ";\n".join(lines))


def key_path(*parts: str | int, root: str = ROOT) -> str:
    """Write a place in the policy: ``key_path("repositories", 1, "path")``."""
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
