"""The right to erasure by a play: both consents, the ledger in the bucket, and no restore that brings it back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drill.client import ErpClient
from drill.host import Host
from lab.api import Lab

TENANT = "SELECT count(*) FROM core.tenants WHERE id = '{0}'"
LEDGER = "journal/erp/erasures/"


def test_without_both_consents_nobody_is_erased(plays: Any, db1: Host, victim: str) -> None:
    assert "not the id of the tenant" in plays.error(
        "erase-tenant.yml", tenant=victim, erase_confirm="another", restore_confirm="erp-lab"
    )
    assert "is not the name of this cluster" in plays.error(
        "erase-tenant.yml", tenant=victim, erase_confirm=victim, restore_confirm="erp-prod"
    )
    assert db1.sql(TENANT.format(victim)) == "1"


@pytest.mark.step
def test_an_erased_tenant_is_in_the_ledger_of_the_bucket(
    plays: Any, lab: Lab, db1: Host, erp: ErpClient, victim: str
) -> None:
    plays.succeed("erase-tenant.yml", tenant=victim, erase_confirm=victim)
    assert db1.sql(TENANT.format(victim)) == "0"
    assert erp.writes
    client = lab.boto3_client(admin=True)
    found = client.list_objects_v2(Bucket=lab.s3.bucket, Prefix=LEDGER)["Contents"]
    assert [one["Key"] for one in found] == [f"{LEDGER}0000000{number}.json" for number in (1, 2)]
    entries = [json.loads(client.get_object(Bucket=lab.s3.bucket, Key=one["Key"])["Body"].read()) for one in found]
    assert [entry["result"] for entry in entries] == ["intended", "done"]
    assert victim not in json.dumps(entries)
    head = client.head_object(Bucket=lab.s3.bucket, Key=found[0]["Key"])
    assert head["ObjectLockRetainUntilDate"], "a thief of the host's credentials could remove it"


def test_no_play_brings_the_tenant_back(plays: Any, db1: Host, victim: str) -> None:
    error = plays.error("restore-tenant.yml", tenant=victim, restore_confirm="erp-lab")
    assert "stays erased" in error
    assert db1.sql(TENANT.format(victim)) == "0"
