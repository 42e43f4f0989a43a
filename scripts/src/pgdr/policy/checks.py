"""Whether a policy can keep its own promises.

Each rule is a pure function from a policy to findings; :func:`check_policy` runs them all. An error refuses the
policy, a warning is shown. Every finding names the key to change and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pgdr.policy import rules_compliance, rules_names, rules_storage, rules_time
from pgdr.policy.findings import Finding, PolicyError, Severity
from pgdr.policy.model import Policy

Rule = Callable[[Policy], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    rules_time.archiving_meets_rpo,
    rules_time.heartbeat_measures_rpo,
    rules_time.fulls_outlive_their_interval,
    rules_time.slots_outlive_their_interval,
    rules_time.archive_slots_grow,
    rules_time.incremental_yields,
    rules_time.old_backups_go,
    rules_storage.repositories_are_distinct,
    rules_storage.repository_outside_archives,
    rules_storage.local_paths_on_backup_volume,
    rules_storage.protected_data_leaves_the_host,
    rules_storage.replica_elsewhere,
    rules_storage.archives_have_a_bucket,
    rules_storage.slots_fit_their_class,
    rules_storage.offsite_copy_is_elsewhere,
    rules_compliance.object_lock_fits,
    rules_compliance.erased_data_expires,
    rules_compliance.compliance_is_met,
    rules_names.names_are_distinct,
    rules_names.packages_exist,
)


def check_policy(policy: Policy) -> list[Finding]:
    """Return everything that is wrong with a policy, errors first."""
    found = [finding for rule in RULES for finding in rule(policy)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that refuse the policy."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def require_sound(policy: Policy, *, source: str = "") -> Policy:
    """Return the policy if it can keep its promises.

    Args:
        policy: the policy.
        source: where it came from, for the message.

    Raises:
        PolicyError: it cannot; one line for each reason.
    """
    errors = errors_of(check_policy(policy))
    if errors:
        raise PolicyError(source, errors)
    return policy
