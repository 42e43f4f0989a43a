"""A policy that is sound, and a way to spoil it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import pytest
import yaml

from pgdr.policy import Policy, parse_policy, policy_schema

SOUND = """
version: 1
environment: production
cluster: {name: erp-prod, stanza: erp, database: erp_generic, postgresql_version: 16}
objectives: {rto: 4h, rpo: 15m}
wal: {archive_timeout: 60s, lag_alert: 5m}
schedule: {full: "0 2 * * *", incremental: "0 */4 * * *", heartbeat: "* * * * *", rehearsal: "0 3 * * 0",
           verify: "0 4 * * *", expire: "0 5 * * *"}
repositories:
  - {id: 1, type: posix, path: /backups/pgbackrest, retention: {full: 7d}}
  - id: 2
    type: s3
    path: /pgbackrest
    bucket: erp-generic-backups-prod
    region: us-east-1
    kms_key_id: alias/erp-backups
    retention: {full: 30d}
    object_lock: {mode: governance, days: 35}
    replica: {region: us-west-2, bucket: erp-generic-backups-prod-replica}
backup_volume: {minimum_capacity: 500GB}
schemas: [auth, core]
tenancy:
  column: tenant_id
  tables: [{schema: auth, table: users, column: company_id}]
  shared: [{schema: core, table: currencies}]
archives:
  local: {retention: 7d}
  cloud:
    repository: 2
    daily: {retention: 30d}
    weekly: {retention: 12w, storage_class: STANDARD_IA}
    monthly: {retention: 12mo, storage_class: GLACIER}
    annual: {retention: 7y, storage_class: DEEP_ARCHIVE}
  offsite: {schedule: "0 6 1 * *", retention: 7y}
compliance: {frameworks: [gdpr, soc2, hipaa, sox], erasure_cap: 90d}
notification: {channels: [{name: ops-slack, secret_name: slack_url}]}
recovery:
  smoke_queries: [{name: users, sql: SELECT count(*) FROM auth.users}]
  application: {health_url: "https://erp.example.com/health"}
"""


def spoil(document: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with values set by path (``repositories.1.path``); ``...`` removes the key."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        place: Any = result
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return result


@pytest.fixture
def document() -> dict[str, Any]:
    """A sound policy as YAML gives it."""
    loaded: dict[str, Any] = yaml.safe_load(SOUND)
    return loaded


@pytest.fixture
def spoiled(document: dict[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the sound document with some values changed."""
    return lambda changes: spoil(document, changes)


@pytest.fixture
def changed(document: dict[str, Any]) -> Callable[[Mapping[str, Any]], Policy]:
    """Return the sound policy with some values changed."""
    return lambda changes: parse_policy(spoil(document, changes))


@pytest.fixture(scope="session")
def schema_problems() -> Callable[[object], list[str]]:
    """Return what the exported JSON Schema says against a policy (without its outer key)."""
    schema = policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    return lambda policy: [error.message for error in validator.iter_errors({"recovery_policy": policy})]
