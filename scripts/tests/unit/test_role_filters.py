"""The filters of role `pgbackrest`: what they make of pgBackRest's answers, and that they never show a secret."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "roles/pgbackrest/filter_plugins"
PLANTED = "correct horse battery staple"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"role_{name}", PLUGINS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


info = _load("pgbackrest_info")
secrets = _load("pgbackrest_secrets")
repositories = _load("pgbackrest_repositories")


def _repository(key: int, code: int = 0, message: str = "ok") -> dict[str, Any]:
    return {"cipher": "aes-256-cbc", "key": key, "status": {"code": code, "message": message}}


def _backup(repository: int, kind: str = "full", cluster: int = 1, *, error: bool = False) -> dict[str, Any]:
    label = f"20261122-09000{repository}F"
    return {"database": {"id": cluster, "repo-key": repository}, "type": kind, "label": label + kind, "error": error}


def _cluster(repository: int, number: int = 1, identifier: int = 7710916423484799039) -> dict[str, Any]:
    return {"id": number, "repo-key": repository, "system-id": identifier, "version": "17"}


def _info(**parts: Any) -> str:
    stanza = {"name": "erp", "status": {"code": 0, "lock": {"backup": {"held": False}}}, "repo": [], **parts}
    return json.dumps([stanza])


def _state(**parts: Any) -> dict[str, Any]:
    state: dict[str, Any] = info.pgbackrest_state(_info(**parts), "erp")
    return state


def test_each_repository_is_judged_alone() -> None:
    state = _state(
        repo=[_repository(1, 1, "missing stanza path"), _repository(2, 2, "no valid backups"), _repository(3)],
        db=[_cluster(2), _cluster(3)],
        backup=[_backup(3), _backup(3, "incr")],
    )
    assert [(found["stanza"], found["full"]) for found in state["repositories"]] == [(False, 0), (True, 0), (True, 1)]
    assert all(found["readable"] for found in state["repositories"])


def test_backups_of_a_former_cluster_do_not_count() -> None:
    state = _state(repo=[_repository(1)], db=[_cluster(1, 1, 111), _cluster(1, 2, 222)], backup=[_backup(1, cluster=1)])
    assert state["repositories"][0]["full"] == 0
    assert state["repositories"][0]["system_identifier"] == "222"


def test_a_damaged_backup_is_named() -> None:
    state = _state(repo=[_repository(1)], db=[_cluster(1)], backup=[_backup(1, "incr"), _backup(1, error=True)])
    assert state["repositories"][0]["damaged"] == ["20261122-090001Ffull"]


def test_a_running_backup_is_seen() -> None:
    assert _state()["backup_running"] is False
    assert _state(status={"code": 0, "lock": {"backup": {"held": True}}})["backup_running"] is True


def test_the_cause_is_one_line_without_attempts_conversation_and_noise() -> None:
    def cause(message: str) -> str:
        return str(_state(repo=[_repository(2, 99, message)])["repositories"][0]["message"])

    refused = (
        "[HostConnectError] unable to connect to 's3:443 (10.0.0.1)': [111] Connection refused\n"
        "[HostConnectError] on 5 retries from 101-5000ms: unable to connect"
    )
    assert cause(refused) == "[HostConnectError] unable to connect to 's3:443 (10.0.0.1)': [111] Connection refused"
    forbidden = "[ProtocolError] HTTP request failed with 403 (Forbidden):\n*** Path/Query ***:\nGET /bucket"
    assert cause(forbidden) == "[ProtocolError] HTTP request failed with 403 (Forbidden)"
    noise = "[FormatError] unable to load:\nkey/value found outside of section at line 1: \udc98\x11\ufffd\nHINT: x"
    assert cause(noise).startswith("the passphrase does not open it: [FormatError]")
    assert cause(noise).isprintable()
    assert cause("[CryptoError] unable to flush\nHINT: is or was the repo encrypted?").startswith("the passphrase")
    assert cause("[CryptoError] unable to set user-defined CA certificate location").startswith("[CryptoError]")


def test_raw_bytes_in_a_message_do_not_break_the_answer() -> None:
    answer = _info(repo=[_repository(2, 99, "one_line")]).replace("one_line", "[FormatError] a\n\x1bb")
    assert info.pgbackrest_state(answer, "erp")["repositories"][0]["message"] == "[FormatError] a b"


def test_an_unreadable_repository_is_named_with_its_place() -> None:
    state = _state(repo=[_repository(1), _repository(2, 99, "[ProtocolError] no such bucket")])
    described = [
        {"id": 1, "type": "posix", "path": "/backups"},
        {"id": 2, "type": "s3", "bucket": "b", "path": "/p", "endpoint": "s3"},
    ]
    assert info.pgbackrest_unreadable(state, described) == [
        "Repository 2 (s3://b/p at s3) cannot be read: [ProtocolError] no such bucket."
    ]


def test_a_check_counts_only_for_repositories_that_got_the_segment() -> None:
    said = (
        "P00   INFO: check repo1 archive for WAL (primary)\n"
        "P00   INFO: WAL segment 000000010000000000000002 successfully archived to '/b/x.zst' on repo1\n"
        "P00   INFO: check repo2 archive for WAL (primary)\n"
    )
    assert info.pgbackrest_archived_to(said) == [1]


LOCAL = {"id": 1, "type": "posix", "cipher": "aes-256-cbc"}
CLOUD = {"id": 2, "type": "s3", "cipher": "aes-256-cbc", "key_type": "shared"}
KEYS = {"s3_key": "key", "s3_key_secret": "secret"}


@pytest.mark.parametrize(
    ("repository", "given"),
    [
        (LOCAL, {1: {"cipher_pass": PLANTED}}),
        (LOCAL, {"1": {"cipher_pass": PLANTED}}),
        (CLOUD, {2: {"cipher_pass": PLANTED, **KEYS}}),
        ({**CLOUD, "key_type": "auto"}, {2: {"cipher_pass": PLANTED}}),
        ({**LOCAL, "cipher": "none"}, {}),
        (CLOUD, {2: {"cipher_pass": PLANTED, **KEYS, "reader_key": "other", "reader_key_secret": "secret"}}),
    ],
)
def test_complete_secrets_are_accepted(repository: dict[str, Any], given: dict[Any, Any]) -> None:
    assert secrets.pgbackrest_secret_problems(given, repository) == []


@pytest.mark.parametrize(
    ("repository", "given", "problem"),
    [
        (LOCAL, {}, "cipher_pass is missing"),
        (LOCAL, {1: None}, "cipher_pass is missing"),
        (LOCAL, {1: {"cipher_pass": ""}}, "cipher_pass is missing"),
        (LOCAL, {1: {"cipher_pass": "short"}}, "cipher_pass is shorter than 16 characters"),
        (
            LOCAL,
            {1: {"cipher_pass": f"{PLANTED}\nrepo1-path=/x"}},
            "cipher_pass must be one line without blanks at its ends",
        ),
        (LOCAL, {1: {"cipher_pass": f" {PLANTED}"}}, "cipher_pass must be one line without blanks at its ends"),
        (LOCAL, {1: {"cipher_pass": PLANTED, "passphrase": "x"}}, "passphrase is not a key that the role knows"),
        (CLOUD, {2: {"cipher_pass": PLANTED, "s3_key": "key"}}, "s3_key_secret is missing"),
        (CLOUD, {2: {"cipher_pass": PLANTED, **KEYS, "reader_key": "other"}}, "reader_key_secret is missing"),
        (CLOUD, {2: {"cipher_pass": PLANTED, **KEYS, "reader_key_secret": "x"}}, "reader_key is missing"),
        (
            CLOUD,
            {2: {"cipher_pass": PLANTED, **KEYS, "reader_key": "key", "reader_key_secret": "secret"}},
            "reader_key is the writer's: it can do more than read",
        ),
    ],
)
def test_problems_name_keys_and_no_values(repository: dict[str, Any], given: dict[Any, Any], problem: str) -> None:
    problems = secrets.pgbackrest_secret_problems(given, repository)
    assert problem in problems
    assert not any(value in said for said in problems for value in (PLANTED, "secret,", "/x"))


def test_keys_that_can_only_read_are_those_of_buckets() -> None:
    pair = {"reader_key": "k", "reader_key_secret": "s"}
    given = {1: {"cipher_pass": PLANTED, **pair}, "2": {"cipher_pass": PLANTED, **pair}, 3: {"cipher_pass": PLANTED}}
    found = secrets.pgbackrest_readers([{**CLOUD, "id": 3}, CLOUD, LOCAL], given)
    assert [(one["id"], one["reader_key"], one["reader_key_secret"]) for one in found] == [(2, "k", "s")]


def test_files_below_the_limit_get_no_blocks_and_others_those_of_pgbackrest() -> None:
    rungs = repositories.pgbackrest_block_map("8MiB")
    assert rungs[:2] == ["8192KiB=8KiB", "11264KiB=16KiB"]
    assert rungs[-1] == "935936KiB=88KiB"
    assert len(rungs) == 11
    assert repositories.pgbackrest_block_map("1GiB") == ["1048576KiB=88KiB"]
    assert repositories.pgbackrest_block_map("8KiB")[:2] == ["8KiB=8KiB", "16KiB=8KiB"]


@pytest.mark.parametrize("size", ["", "8", "8MB", "0MiB", "-1MiB", "8MiB\nrepo1-path=/x"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        repositories.pgbackrest_block_map(size)
