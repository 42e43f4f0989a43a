"""The host's configuration file: what is wrong with it is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgdr.errors import ConfigError
from pgdr.hostconfig import DEFAULT_PATH, HostConfig, config_path, load

GOOD = """
stanza: erp
cluster_name: erp-prod
database: erp_generic
postgresql_version: 16
postgresql_cluster: main
data_directory: /var/lib/postgresql/16/main
bin_directory: /usr/lib/postgresql/16/bin
port: 5432
socket_directory: /var/run/postgresql
state_directory: /var/lib/pgdr
log_directory: /var/log/pgdr
run_directory: /run/pgdr
pgbackrest_binary: /usr/bin/pgbackrest
pgbackrest_config: /etc/pgbackrest/pgbackrest.conf
restore_command_wrapper: /opt/pgdr/libexec/restore-wal
notification_secrets: /etc/pgdr/notification.yml
metrics_file: /var/lib/prometheus/node-exporter/pgdr.prom
policy_path: /etc/pgdr/policy.yml
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "host.yml"
    path.write_text(text)
    return path


def test_reads_every_key_of_the_contract(tmp_path: Path) -> None:
    host = load(_write(tmp_path, GOOD))
    assert host.journal_path == Path("/var/lib/pgdr/journal.jsonl")
    assert host.config_directory == Path("/etc/postgresql/16/main")
    assert host.service_unit == "postgresql@16-main.service"
    assert host.program("pg_ctl") == "/usr/lib/postgresql/16/bin/pg_ctl"
    keys = {line.partition(":")[0] for line in GOOD.split("\n") if line}
    assert keys == set(HostConfig.model_fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("stanza: erp", "stanza: ../erp"), "stanza"),
        (("stanza: erp", "stanza: --repo=2"), "stanza"),
        (("port: 5432", "port: many"), "port"),
        (("port: 5432", "prot: 5432"), "prot: Extra inputs are not permitted"),
        (("data_directory: /var", "data_directory: var"), "data_directory: Value error, must be an absolute path"),
        (("database: erp_generic", ""), "database: Field required"),
        (("stanza: erp", "stanza: [erp"), "is not valid YAML"),
    ],
)
def test_says_which_key_is_wrong(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(_write(tmp_path, GOOD.replace(*change)))
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "words"), [(b"", "must hold a mapping"), (b"- 1", "mapping"), (b"\xff", "UTF-8")])
def test_refuses_what_is_no_mapping(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "host.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load(path)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no host configuration at .*role pgdr"):
        load(tmp_path / "none.yml")


def test_the_file_is_found_in_this_order() -> None:
    assert config_path(Path("/a"), {"PGDR_CONFIG": "/b"}) == Path("/a")
    assert config_path(None, {"PGDR_CONFIG": "/b"}) == Path("/b")
    assert config_path(None, {"PGDR_CONFIG": ""}) == DEFAULT_PATH
    assert config_path(None, {}) == DEFAULT_PATH
