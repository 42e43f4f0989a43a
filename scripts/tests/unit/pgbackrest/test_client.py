"""Argument lists and the list of configured repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgdr.errors import ConfigError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.repositories import ConfiguredRepository, configured
from pgdr.process import Completed

MAIN = """\
# a comment with repo9-path=/no
[global]
repo1-path=/backups/pgbackrest
repo1-retention-full=7
repo2-type = s3
repo2-path=/pgbackrest
repo2-s3-bucket=erp-backups
repo2-s3-endpoint=s3
start-fast=y

[global:archive-push]
repo4-path=/four

[other]
repo5-path=/five

[erp]
pg1-path=/var/lib/postgresql/16/main
"""
SECRETS = """\
[global]
repo1-cipher-pass=planted-secret
repo2-s3-key-secret=planted-secret
repo3-cipher-pass=planted-secret
"""


@pytest.fixture
def config(tmp_path: Path) -> HostConfig:
    folder = tmp_path / "pgbackrest"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "pgbackrest.conf").write_text(MAIN)
    (folder / "conf.d" / "credentials.conf").write_text(SECRETS)
    return HostConfig(
        stanza="erp",
        cluster_name="erp-test",
        database="erp",
        postgresql_version=16,
        data_directory=tmp_path,
        bin_directory=tmp_path,
        pgbackrest_binary=Path("/usr/bin/pgbackrest"),
        pgbackrest_config=folder / "pgbackrest.conf",
    )


def test_lists_the_repositories_of_this_stanza(config: HostConfig) -> None:
    found = PgBackRest(config).repositories
    assert found == (
        ConfiguredRepository(1, "posix", "/backups/pgbackrest"),
        ConfiguredRepository(2, "s3", "/pgbackrest", "erp-backups", "s3"),
        ConfiguredRepository(3),
        ConfiguredRepository(4, "posix", "/four"),
    )
    assert [item.place for item in found[:2]] == ["/backups/pgbackrest", "s3://erp-backups/pgbackrest"]
    assert "planted" not in repr(found)


def test_no_repository_is_a_configuration_error(config: HostConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        configured(tmp_path / "none.conf", "erp")
    (tmp_path / "empty.conf").write_text("[global]\nstart-fast=y\n")
    with pytest.raises(ConfigError, match="names no repository"):
        configured(tmp_path / "empty.conf", "erp")


def test_the_argument_list_names_the_folder_of_the_credentials(config: HostConfig) -> None:
    """With `--config` alone pgBackRest leaves out conf.d."""
    argv = PgBackRest(config).command("--repo=1", "check")
    folder = config.pgbackrest_config.parent
    assert argv == [
        "/usr/bin/pgbackrest",
        f"--config={folder}/pgbackrest.conf",
        f"--config-path={folder}",
        "--stanza=erp",
        "--log-level-console=off",
        "--log-level-stderr=warn",
        "--repo=1",
        "check",
    ]
    assert "planted" not in " ".join(argv)


def test_a_backup_expires_nothing_by_itself(config: HostConfig) -> None:
    seen: list[list[str]] = []

    def runner(argv: object) -> Completed:
        assert isinstance(argv, list)
        seen.append(argv)
        return Completed(tuple(argv), 0, "", "")

    client = PgBackRest(config, runner)
    client.backup("full", 2)
    client.expire_set(2, "20261122-020000F", keep_wal_of=3)
    assert seen[0][-4:] == ["--type=full", "--repo=2", "--no-expire-auto", "backup"]
    assert seen[1][-2:] == ["--set=20261122-020000F", "expire"]
    assert {"--repo=2", "--repo2-retention-full=9999999", "--repo2-retention-archive=3"} <= set(seen[1])
