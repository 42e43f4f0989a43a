"""The programs, recorded once each; the policies that they were made from."""

from __future__ import annotations

import pytest

from pgdr.policy import Policy, load_policy
from tests.recorder import COMMON, INFRA, SSH_KEY, Recording, record, record_access


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-documents", action="store_true", help="Write the policy documents anew, for a review.")


@pytest.fixture(scope="session")
def production() -> Policy:
    return load_policy(INFRA.parent / "inventories/production/group_vars/all/policy.yml")


@pytest.fixture(scope="session")
def storage() -> Recording:
    return record("storage", "prod", COMMON)


@pytest.fixture(scope="session")
def access() -> Recording:
    return record_access("prod", "erp-generic-backups-prod")


@pytest.fixture(scope="session")
def site() -> Recording:
    return record(
        "recovery_site",
        "recovery",
        {**COMMON, "pgdr:sshPublicKey": SSH_KEY, "pgdr:zoneId": "Z0123456789"},
        {"organization/pgdr-access/prod": {"host_writer_instance_profile": "erp-prod-host-writer"}},
    )
