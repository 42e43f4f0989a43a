"""Which files of a backup set a repository must hold, by its manifest: a copy that lags has not got all."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pgdr.errors import OperationFailedError
from pgdr.pgbackrest.client import PgBackRest, RepositoryFile
from pgdr.recovery.whole import held_files, missing_files

FULL, INCREMENT = "20261122-020000F", "20261122-020000F_20261122-060000I"
MANIFEST = f"""\
[backrest]
backrest-version="2.55.1"

[backup:option]
option-compress-type="zst"
option-online=true

[target:file]
pg_data/PG_VERSION={{"bni":1,"checksum":"ad","repo-size":24,"size":3,"timestamp":1}}
pg_data/base/1/empty={{"checksum-page":true,"size":0,"timestamp":1}}
pg_data/base/5/1234={{"checksum":"ad","reference":"{FULL}","repo-size":24,"size":3,"timestamp":1}}
pg_data/base/5/2345={{"bni":7,"bno":3,"reference":"{FULL}","size":3,"timestamp":1}}
pg_data/base/5/9999={{"bi":2,"bims":40,"bis":1,"size":8388608,"timestamp":1}}
pg_data/odd=name={{"size":9,"timestamp":1}}

[target:file:default]
group="postgres"

[target:path]
pg_data={{}}
"""
NEEDED = {
    f"{INCREMENT}/backup.manifest",
    f"{INCREMENT}/bundle/1",
    f"{FULL}/pg_data/base/5/1234.zst",
    f"{FULL}/bundle/7",
    f"{INCREMENT}/pg_data/base/5/9999.pgbi",
    f"{INCREMENT}/pg_data/odd=name.zst",
}


class _Repository:
    """Answers as the repository would."""

    def __init__(self, held: set[str], manifest: str = MANIFEST) -> None:
        self.held, self.manifest = held, manifest
        self.config = type("Config", (), {"stanza": "erp"})()

    def list_files(self, path: str, repo: int, *, recurse: bool, timeout: float) -> dict[str, RepositoryFile]:
        assert (repo, path, recurse) == (2, "backup/erp", True)
        return {name: RepositoryFile(1, 1, folder=False) for name in self.held}

    def read_file(self, path: str, repo: int, *, timeout: float) -> str:
        assert path == f"backup/erp/{INCREMENT}/backup.manifest"
        return self.manifest


def _missing(held: set[str], **more: Any) -> list[str]:
    client = cast("PgBackRest", _Repository(held, **more))
    return missing_files(client, 2, INCREMENT, held_files(client, 2))


def test_a_set_is_whole_with_the_files_of_its_own_and_of_the_sets_before() -> None:
    assert _missing(NEEDED | {"20251111-020000F/bundle/1"}) == []


@pytest.mark.parametrize("lost", sorted(NEEDED))
def test_each_file_is_missed(lost: str) -> None:
    assert _missing(NEEDED - {lost}) == [lost]


@pytest.mark.parametrize(
    "manifest",
    ["", "[target:file]\npg_data/PG_VERSION={nonsense}\n", '[backup:option]\noption-compress-type="new"\n'],
    ids=["empty", "nonsense", "a compression of the future"],
)
def test_a_manifest_that_is_not_understood_is_no_proof(manifest: str) -> None:
    with pytest.raises(OperationFailedError, match="manifest of"):
        _missing(NEEDED, manifest=manifest)
