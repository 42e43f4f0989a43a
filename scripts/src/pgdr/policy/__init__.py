"""The recovery policy: its model, its checks, and what follows from it."""

from pgdr.policy.checks import check_policy, errors_of, require_sound
from pgdr.policy.derive import Derived, derive
from pgdr.policy.findings import Finding, PolicyError, Severity
from pgdr.policy.load import DEFAULT_PATH, load_policy, parse_policy
from pgdr.policy.model import Policy
from pgdr.policy.schema import policy_schema

__all__ = [
    "DEFAULT_PATH",
    "Derived",
    "Finding",
    "Policy",
    "PolicyError",
    "Severity",
    "check_policy",
    "derive",
    "errors_of",
    "load_policy",
    "parse_policy",
    "policy_schema",
    "require_sound",
]
