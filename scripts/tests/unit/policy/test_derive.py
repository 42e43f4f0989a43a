"""What follows from a policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pgdr.hostconfig import HostConfig
from pgdr.policy import Policy, derive
from pgdr.policy.jobs import late_after

Changed = Callable[[Mapping[str, Any]], Policy]


def test_the_result_is_plain_data_without_empty_places(changed: Changed) -> None:
    derived = derive(changed({}))
    text = json.dumps(derived)
    assert json.loads(text) == derived
    assert "null" not in text


def test_cron_runs_only_commands_that_exist(changed: Changed) -> None:
    jobs = derive(changed({"schedule.full": "30 1 * * *"}))["jobs"]
    assert [(job["name"], job["schedule"], job["command"]) for job in jobs] == [
        ("backup-full", "30 1 * * *", "/usr/local/bin/pgdr backup full"),
        ("backup-incremental", "0 */4 * * *", "/usr/local/bin/pgdr backup incr"),
        ("heartbeat", "* * * * *", "/usr/local/bin/pgdr heartbeat"),
        ("watch", "*/5 * * * *", "/usr/local/bin/pgdr watch"),
        ("verify", "0 4 * * *", "/usr/local/bin/pgdr verify"),
        ("expire", "0 5 * * *", "/usr/local/bin/pgdr expire"),
        ("rehearsal", "0 3 * * 0", "/usr/local/bin/pgdr rehearse --wait 4h"),
        ("archive-verify", "0 4 * * *", "/usr/local/bin/pgdr archives verify --wait 4h"),
    ]
    fewer = derive(changed({"schedule.verify": ..., "schedule.expire": ..., "schedule.rehearsal": ...}))["jobs"]
    assert [job["name"] for job in fewer] == ["backup-full", "backup-incremental", "heartbeat", "watch"]
    assert all(job["comment"] and "\n" not in job["comment"] for job in jobs)


def _of_archives(job: Mapping[str, Any]) -> bool:
    return str(job["name"]).startswith(("archive", "config"))


def test_archives_are_scheduled_where_the_policy_has_them(changed: Changed) -> None:
    times = {"schedule.archive": "0 3 * * *", "schedule.verify": "0 4 * * *", "schedule.configuration": "30 1 * * *"}
    jobs = derive(changed({**times, "archives.configuration": {"retention": "30d"}}))["jobs"]
    assert [(job["name"], job["schedule"], job["command"]) for job in jobs if _of_archives(job)] == [
        ("archive", "0 3 * * *", "/usr/local/bin/pgdr archive --wait 2h"),
        ("archive-verify", "0 4 * * *", "/usr/local/bin/pgdr archives verify --wait 4h"),
        ("config-backup", "30 1 * * *", "/usr/local/bin/pgdr config-backup"),
    ]
    assert [job["name"] for job in derive(changed(times))["jobs"] if _of_archives(job)] == ["archive", "archive-verify"]
    assert not any(_of_archives(job) for job in derive(changed({**times, "archives": ...}))["jobs"])
    tertiary = derive(changed({"archives.offsite.bucket": "erp-offsite"}))["jobs"][-1]
    assert (tertiary["schedule"], tertiary["command"]) == ("0 6 1 * *", "/usr/local/bin/pgdr archives offsite")


def test_repositories_are_what_the_role_takes(changed: Changed) -> None:
    policy = changed(
        {
            "repositories.1.endpoint": "s3",
            "repositories.1.port": 443,
            "repositories.1.uri_style": "path",
            "repositories.1.ca_file": "/etc/ca.crt",
            "repositories.1.key_type": "shared",
        }
    )
    assert derive(policy)["pgbackrest"] == {
        "stanza": "erp",
        "data_directory": "/var/lib/postgresql/16/main",
        "repositories": [
            {
                "id": 1,
                "type": "posix",
                "path": "/backups/pgbackrest",
                "cipher": "aes-256-cbc",
            },
            {
                "id": 2,
                "type": "s3",
                "path": "/pgbackrest",
                "cipher": "aes-256-cbc",
                "bucket": "erp-generic-backups-prod",
                "region": "us-east-1",
                "endpoint": "s3",
                "port": 443,
                "uri_style": "path",
                "verify_tls": True,
                "ca_file": "/etc/ca.crt",
                "key_type": "shared",
                "kms_key_id": "alias/erp-backups",
            },
        ],
        # The same repository in the copy's bucket and region, without the key of the first region.
        "replicas": [
            {
                "id": 2,
                "type": "s3",
                "path": "/pgbackrest",
                "cipher": "aes-256-cbc",
                "bucket": "erp-generic-backups-prod-replica",
                "region": "us-west-2",
                "endpoint": "s3",
                "port": 443,
                "uri_style": "path",
                "verify_tls": True,
                "ca_file": "/etc/ca.crt",
                "key_type": "shared",
            },
        ],
    }


def test_a_replica_on_aws_is_asked_in_its_own_region(changed: Changed) -> None:
    named = changed({"repositories.1.endpoint": "s3.us-east-1.amazonaws.com"})
    for policy in (changed({}), named):
        assert derive(policy)["pgbackrest"]["replicas"][0]["endpoint"] == "s3.us-west-2.amazonaws.com"


def test_without_an_endpoint_requests_go_to_aws(changed: Changed) -> None:
    repository = derive(changed({}))["pgbackrest"]["repositories"][1]
    assert repository["endpoint"] == "s3.us-east-1.amazonaws.com"
    assert "port" not in repository


def test_postgresql_archives_as_the_objectives_ask(changed: Changed) -> None:
    policy = changed({"wal.archive_timeout": "2m", "wal.keep_size": "2GiB", "cluster.stanza": "erp-two"})
    postgresql = derive(policy)["postgresql"]
    assert postgresql["settings"] == {
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_command": "pgbackrest --stanza=erp-two archive-push %p",
        "archive_timeout": "120s",
        "max_wal_senders": 10,
        "wal_keep_size": "2GB",
    }
    assert (postgresql["version"], postgresql["source"], postgresql["cluster"]) == (16, "pgdg", "main")
    assert (postgresql["port"], postgresql["database"]) == (5432, "erp_generic")


def test_the_data_directory_is_debians_or_the_policys(changed: Changed) -> None:
    other = derive(changed({"cluster.postgresql_cluster": "erp"}))
    assert other["postgresql"]["data_directory"] == "/var/lib/postgresql/16/erp"
    chosen = derive(changed({"cluster.data_directory": "/srv/pg"}))
    assert chosen["postgresql"]["data_directory"] == "/srv/pg"
    assert chosen["pgbackrest"]["data_directory"] == "/srv/pg"
    assert chosen["host_config"]["data_directory"] == "/srv/pg"


def test_the_host_takes_its_facts(changed: Changed) -> None:
    host = HostConfig.model_validate(derive(changed({}))["host_config"])
    assert (host.cluster_name, host.stanza, host.database) == ("erp-prod", "erp", "erp_generic")
    assert str(host.bin_directory) == "/usr/lib/postgresql/16/bin"


def test_the_volume_is_named_with_its_device_where_there_is_one(changed: Changed) -> None:
    assert derive(changed({}))["backup_volume"] == {"path": "/backups", "minimum_gb": 500, "filesystem": "xfs"}
    named = derive(changed({"backup_volume.device": "/dev/disk/by-path/pci-0000:00:1f.0"}))["backup_volume"]
    assert named["device"] == "/dev/disk/by-path/pci-0000:00:1f.0"


def test_only_archives_move_by_age(changed: Changed) -> None:
    [storage] = derive(changed({"repositories.1.versions": 30}))["object_storage"]
    assert storage == {
        "repository": 2,
        "bucket": "erp-generic-backups-prod",
        "region": "us-east-1",
        "repository_prefix": "pgbackrest/",
        "noncurrent_days": 35,
        "lifecycle": [
            {"prefix": "archive/daily/", "expire_days": 30, "storage_class": "STANDARD"},
            {"prefix": "archive/weekly/", "expire_days": 84, "storage_class": "STANDARD_IA"},
            {"prefix": "archive/monthly/", "expire_days": 366, "storage_class": "GLACIER"},
            {"prefix": "archive/annual/", "expire_days": 2557, "storage_class": "DEEP_ARCHIVE"},
        ],
        "info_versions": 30,
        "object_lock": {"mode": "governance", "days": 35},
        "replica": {"region": "us-west-2", "bucket": "erp-generic-backups-prod-replica"},
        "kms_key_id": "alias/erp-backups",
    }
    assert not any(storage["repository_prefix"].startswith(rule["prefix"]) for rule in storage["lifecycle"])


def test_without_a_lock_deleted_versions_stay_as_long_as_backups(changed: Changed) -> None:
    [storage] = derive(changed({"repositories.1.object_lock": ..., "archives": ..., "compliance": {}}))[
        "object_storage"
    ]
    assert storage["noncurrent_days"] == 30
    assert storage["lifecycle"] == []
    assert "object_lock" not in storage


def test_alerts_follow_the_schedule(changed: Changed) -> None:
    alerts = derive(changed({"recovery.drill_interval": "3mo"}))["alerts"]
    assert (alerts["rto"], alerts["rpo"], alerts["wal_lag"]) == (14_400, 900, 300)
    assert alerts["max_age"] == {
        "full": 30 * 3600,
        "incremental": 5 * 3600,
        "heartbeat": 180,
        "verify": 30 * 3600,
        "archive-verify": 30 * 3600,
        "expire": 30 * 3600,
        "rehearsal": 7 * 86_400 * 5 // 4,
        "drill": 92 * 86_400,
    }


def test_a_job_is_late_after_its_pause_and_some_time_to_run() -> None:
    assert late_after(60) == 180
    assert late_after(86_400) == 108_000
