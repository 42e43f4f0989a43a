"""Rules about names and versions."""

from __future__ import annotations

from collections.abc import Iterator

from pgdr.policy.findings import Finding, error, key_path
from pgdr.policy.model import Policy


def names_are_distinct(policy: Policy) -> Iterator[Finding]:
    """A name that stands twice is a mistake, and one of its two meanings would be lost."""
    tenancy = policy.tenancy
    # A table is either of one tenant or shared, so both lists count as one.
    tables = (*tenancy.tables, *tenancy.shared) if tenancy else ()
    lists: dict[str, list[tuple[str, ...]]] = {
        key_path("schemas"): [(schema,) for schema in policy.schemas],
        key_path("tenancy"): [(table.schema_, table.table) for table in tables],
        key_path("tenancy", "owners"): [(table.schema_, table.table) for table in (tenancy.owners if tenancy else ())],
        key_path("tenancy", "history"): [
            (table.schema_, table.table) for table in (tenancy.history if tenancy else ())
        ],
        key_path("tenancy", "sequences"): [
            (sequence.schema_, sequence.name) for sequence in (tenancy.sequences if tenancy else ())
        ],
        key_path("tenancy", "hooks"): [(hook.name,) for hook in (tenancy.hooks if tenancy else ())],
        key_path("compliance", "frameworks"): [(name,) for name in policy.compliance.frameworks],
        key_path("notification", "channels"): [(channel.name,) for channel in policy.notification.channels],
        key_path("recovery", "smoke_queries"): [(query.name,) for query in policy.recovery.smoke_queries],
    }
    for path, names in lists.items():
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield error(path, f"'{'.'.join(name)}' stands twice", "remove one")


def packages_exist(policy: Policy) -> Iterator[Finding]:
    """The distributions that come with PostgreSQL 15 and 16 come with a pgBackRest that is too old."""
    cluster = policy.cluster
    if cluster.package_source == "distribution" and cluster.postgresql_version < 17:
        yield error(
            key_path("cluster", "package_source"),
            f"no distribution has PostgreSQL {cluster.postgresql_version} together with pgBackRest 2.55.1 or newer",
            "write pgdg",
        )
