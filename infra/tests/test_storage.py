"""infra/storage: what each control asks for is there. The ids in the names make the test report a compliance table."""

from __future__ import annotations

import pytest

from pgdr.policy import Policy
from tests.recorder import ACCOUNT, COMMON, DEPLOYER, Recording, record

STORES = ["store", "replica"]
ALL = [*STORES, "store-logs", "replica-logs"]
every_bucket = pytest.mark.parametrize("bucket", ALL)
every_store = pytest.mark.parametrize("bucket", STORES)


@every_bucket
def test_fsbp_s3_14_cis_ckv_aws_21_versions_are_kept(storage: Recording, bucket: str) -> None:
    assert storage.one(f"{bucket}-versioning").inputs["versioningConfiguration"] == {"status": "Enabled"}


@every_bucket
def test_fsbp_s3_1_2_3_8_cis_2_1_4_ckv_aws_53_54_55_56_nothing_is_public(storage: Recording, bucket: str) -> None:
    inputs = dict(storage.one(f"{bucket}-public-access").inputs)
    assert inputs.pop("bucket")
    assert inputs == {
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }


@every_bucket
def test_fsbp_s3_12_ckv2_aws_65_objects_belong_to_the_bucket(storage: Recording, bucket: str) -> None:
    assert storage.one(f"{bucket}-ownership").inputs["rule"] == {"objectOwnership": "BucketOwnerEnforced"}


@every_store
def test_fsbp_s3_17_ckv_aws_19_145_encrypted_with_a_key_of_its_own(storage: Recording, bucket: str) -> None:
    (rule,) = storage.one(f"{bucket}-encryption").inputs["rules"]
    assert rule == {
        "applyServerSideEncryptionByDefault": {
            "sseAlgorithm": "aws:kms",
            "kmsMasterKeyId": f"arn:aws:kms:region:{ACCOUNT}:{bucket}-key",
        },
        "blockedEncryptionTypes": ["SSE-C"],
        "bucketKeyEnabled": True,
    }


@pytest.mark.parametrize("bucket", ["store-logs", "replica-logs"])
def test_ckv_aws_19_logs_are_encrypted_as_s3_can_deliver_them(storage: Recording, bucket: str) -> None:
    (rule,) = storage.one(f"{bucket}-encryption").inputs["rules"]
    assert rule == {
        "applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"},
        "blockedEncryptionTypes": ["SSE-C"],
        "bucketKeyEnabled": False,
    }


@every_store
def test_fsbp_s3_15_object_lock_from_the_policy(storage: Recording, production: Policy, bucket: str) -> None:
    (repository,) = production.s3_repositories
    assert repository.object_lock is not None
    assert storage.one(f"{bucket}-bucket").inputs["objectLockEnabled"] is True
    assert storage.one(f"{bucket}-lock").inputs["rule"] == {
        "defaultRetention": {
            "mode": repository.object_lock.mode.upper(),
            "days": repository.object_lock.days,
        }
    }


@every_store
def test_fsbp_s3_9_ckv_aws_18_access_is_logged_to_another_bucket(storage: Recording, bucket: str) -> None:
    name = storage.one(f"{bucket}-bucket").inputs["bucket"]
    assert dict(storage.one(f"{bucket}-logging").inputs) == {
        "bucket": name,
        "targetBucket": f"{name}-logs",
        "targetPrefix": f"access/{name}/",
    }


@every_store
def test_inventory_of_all_versions_each_day(storage: Recording, bucket: str) -> None:
    inputs = storage.one(f"{bucket}-inventory").inputs
    name = storage.one(f"{bucket}-bucket").inputs["bucket"]
    assert (inputs["includedObjectVersions"], inputs["schedule"]) == ("All", {"frequency": "Daily"})
    assert {"ObjectLockRetainUntilDate", "ReplicationStatus", "EncryptionStatus"} <= set(inputs["optionalFields"])
    assert inputs["destination"]["bucket"] == {
        "bucketArn": f"arn:aws:s3:::{name}-logs",
        "format": "CSV",
        "accountId": ACCOUNT,
        "prefix": "inventory",
    }


@every_store
def test_kms_4_cis_3_6_ckv_aws_7_key_is_rotated_and_kept(storage: Recording, bucket: str) -> None:
    key = storage.one(f"{bucket}-key")
    assert key.inputs["enableKeyRotation"] is True
    assert key.inputs["deletionWindowInDays"] == 30
    assert key.inputs["multiRegion"] is False
    assert key.protect


def test_ckv_aws_144_fsbp_s3_7_versions_are_replicated_and_removals_are_not(storage: Recording) -> None:
    replication = storage.one("replication-rule")
    assert replication.inputs["bucket"] == "erp-generic-backups-prod"
    assert replication.inputs["rules"] == [
        {
            "id": "everything",
            "status": "Enabled",
            "priority": 0,
            "filter": {"prefix": ""},
            "deleteMarkerReplication": {"status": "Disabled"},
            "sourceSelectionCriteria": {"sseKmsEncryptedObjects": {"status": "Enabled"}},
            "destination": {
                "bucket": "arn:aws:s3:::erp-generic-backups-prod-replica",
                "encryptionConfiguration": {"replicaKmsKeyId": f"arn:aws:kms:region:{ACCOUNT}:replica-key"},
            },
        }
    ]


def test_replica_is_in_its_own_region_with_its_own_key(storage: Recording) -> None:
    regions = {resource.name: resource.region for resource in storage.resources if resource.type.startswith("aws:")}
    assert {region for name, region in regions.items() if name.startswith("replica-")} == {"us-west-2"}
    assert {region for name, region in regions.items() if name.startswith(("store-", "replication-"))} == {"us-east-1"}
    assert len(storage.of("kms/key:Key")) == 2


def _rules(storage: Recording, bucket: str) -> dict[str, dict[str, object]]:
    rules = storage.one(f"{bucket}-lifecycle").inputs["rules"]
    assert all(rule["status"] == "Enabled" for rule in rules)
    return {
        rule["filter"]["prefix"]: {key: value for key, value in rule.items() if key not in ("id", "status", "filter")}
        for rule in rules
    }


def _versions(days: int, newer: int | None = None) -> dict[str, object]:
    expiration = {"noncurrentDays": days} | ({} if newer is None else {"newerNoncurrentVersions": newer})
    return {"noncurrentVersionExpiration": expiration}


MARKERS = {"expiration": {"expiredObjectDeleteMarker": True}}
KEPT = {
    "archive/daily/erp/": {"expiration": {"days": 30}, **_versions(35)},
    "archive/weekly/erp/": {
        "expiration": {"days": 84},
        "transitions": [{"days": 30, "storageClass": "STANDARD_IA"}],
        **_versions(35),
    },
    "archive/monthly/erp/": {
        "expiration": {"days": 366},
        "transitions": [{"days": 1, "storageClass": "GLACIER"}],
        **_versions(35),
    },
    "archive/annual/erp/": {
        "expiration": {"days": 2557},
        "transitions": [{"days": 1, "storageClass": "DEEP_ARCHIVE"}],
        **_versions(35),
    },
    "configuration/erp/": {"expiration": {"days": 30}, **_versions(35)},
    "kit/erp/": {**MARKERS, **_versions(35, 30)},
    "journal/erp/": {**MARKERS, **_versions(35)},
    "": {"abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}},
}


def test_fsbp_s3_13_ckv_aws_300_ckv2_aws_61_lifecycle_of_the_bucket_whole(storage: Recording) -> None:
    """No current object of the live repository is ever moved or removed by a rule."""
    assert _rules(storage, "store") == {
        **KEPT,
        "pgbackrest/backup/erp/2": {**MARKERS, **_versions(35)},
        "pgbackrest/backup/erp/backup.history/": {**MARKERS, **_versions(35)},
        "pgbackrest/archive/erp/1": {**MARKERS, **_versions(35)},
        "pgbackrest/backup/erp/backup.info": {**MARKERS, **_versions(35, 30)},
        "pgbackrest/archive/erp/archive.info": {**MARKERS, **_versions(35, 30)},
    }


def test_fsbp_s3_13_replica_forgets_by_itself_and_never_its_info_files(storage: Recording) -> None:
    """30 days, one day between fulls, one of S3's rounding: then what production removed goes here too."""
    assert _rules(storage, "replica") == {
        **KEPT,
        "pgbackrest/backup/erp/2": {"expiration": {"days": 32}, **_versions(35)},
        "pgbackrest/backup/erp/backup.history/": {**MARKERS, **_versions(35)},
        "pgbackrest/archive/erp/1": {"expiration": {"days": 32}, **_versions(35)},
        "pgbackrest/backup/erp/backup.info": {**MARKERS, **_versions(35, 30)},
        "pgbackrest/archive/erp/archive.info": {**MARKERS, **_versions(35, 30)},
    }


@pytest.mark.parametrize("bucket", STORES)
def test_info_files_lie_below_no_rule_that_removes_their_newest_versions(storage: Recording, bucket: str) -> None:
    """Rules on overlapping prefixes add up: one without newerNoncurrentVersions above would undo the 30."""
    rules = _rules(storage, bucket)
    for info in ("pgbackrest/backup/erp/backup.info", "pgbackrest/archive/erp/archive.info"):
        acting = [prefix for prefix, rule in rules.items() if info.startswith(prefix) and "abort" not in str(rule)]
        assert acting == [info]


@pytest.mark.parametrize("bucket", ["store-logs", "replica-logs"])
def test_logs_are_kept_as_long_as_the_strictest_framework_asks(storage: Recording, bucket: str) -> None:
    assert _rules(storage, bucket)[""] == {"expiration": {"days": 2557}, **_versions(1)}


def test_everything_that_holds_or_guards_data_is_protected(storage: Recording) -> None:
    open_to_destroy = {
        resource.name
        for resource in storage.resources
        if resource.type.startswith(("aws:s3", "aws:kms/key")) and not resource.protect
    }
    # An inventory and the rule of replication are made again without loss.
    assert open_to_destroy == {"store-inventory", "replica-inventory", "replication-rule"}
    assert all(bucket.inputs["forceDestroy"] is False for bucket in storage.of("s3/bucket:Bucket"))


def test_names_tags_and_parents(storage: Recording) -> None:
    assert {bucket.inputs["bucket"] for bucket in storage.of("s3/bucket:Bucket")} == {
        "erp-generic-backups-prod",
        "erp-generic-backups-prod-logs",
        "erp-generic-backups-prod-replica",
        "erp-generic-backups-prod-replica-logs",
    }
    tagged = [resource for resource in storage.resources if "tags" in resource.inputs]
    assert len(tagged) == 7
    for resource in tagged:
        assert {"pgdr:cluster": "erp-prod", "pgdr:environment": "production", "pgdr:stack": "prod"}.items() <= (
            resource.inputs["tags"].items()
        )
    orphans = [r.name for r in storage.resources if not r.parent and r.type.startswith("aws:")]
    assert orphans == []
    parents = {(r.type.rsplit(":", 1)[-1], r.name): r.parent for r in storage.resources if r.type.startswith("pgdr:")}
    assert parents == {
        ("BackupVault", "store"): "",
        ("EncryptionKey", "store"): "store",
        ("SecureBucket", "store"): "store",
        ("SecureBucket", "store-logs"): "store",
        ("BackupVault", "replica"): "",
        ("EncryptionKey", "replica"): "replica",
        ("SecureBucket", "replica"): "replica",
        ("SecureBucket", "replica-logs"): "replica",
        ("Replication", "replication"): "",
    }


def test_two_stacks_do_not_collide(storage: Recording) -> None:
    staging = record("storage", "staging", COMMON)

    def global_names(recording: Recording) -> set[str]:
        keys = ("bucket", "name")
        types = ("s3/bucket:Bucket", "kms/alias:Alias", "iam/role:Role")
        return {
            f"{resource.type} {resource.inputs[key]}"
            for type_ in types
            for resource in recording.of(type_)
            for key in keys
            if key in resource.inputs
        }

    assert len(global_names(storage)) == 7
    assert global_names(storage) & global_names(staging) == set()


def test_outputs_tell_the_sisters_where_backups_are(storage: Recording) -> None:
    assert storage.outputs == {
        "bucket": "erp-generic-backups-prod",
        "region": "us-east-1",
        "kms_key_arn": f"arn:aws:kms:region:{ACCOUNT}:store-key",
        "log_bucket": "erp-generic-backups-prod-logs",
        "replica": {
            "bucket": "erp-generic-backups-prod-replica",
            "region": "us-west-2",
            "kms_key_arn": f"arn:aws:kms:region:{ACCOUNT}:replica-key",
            "log_bucket": "erp-generic-backups-prod-replica-logs",
        },
    }


def test_provider_refuses_every_other_account(storage: Recording) -> None:
    providers = storage.of("pulumi:providers:aws")
    assert {provider.inputs["allowedAccountIds"] for provider in providers} == {f'["{ACCOUNT}"]'}
    assert DEPLOYER.split(":")[4] == ACCOUNT
