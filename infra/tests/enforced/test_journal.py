"""The journal's copy on a real S3 server: what the host's own identity may do to it, and that it shows all the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from pgdr.archive.bucket import Bucket
from pgdr.errors import NotProvenError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.repository import RepositoryRetention, S3Repository
from pgdr.policy.units import Duration
from pgdr.shipping.copy import ChainCopy
from pgdr.shipping.journal import JournalCopy
from pgdr.shipping.machine import machine
from tests.enforced.store import BUCKET, LAYOUT

if TYPE_CHECKING:
    from tests.enforced.store import Enforced


def test_a_thief_of_the_hosts_key_cannot_make_a_cut_journal_look_whole(enforced: Enforced, tmp_path: Path) -> None:
    thief = enforced.clients["host-writer"]
    config = HostConfig(
        stanza="erp",
        cluster_name="erp-test",
        database="erp",
        postgresql_version=17,
        data_directory=tmp_path,
        bin_directory=tmp_path,
        state_directory=tmp_path,
    )
    repository = S3Repository(
        id=2, type="s3", path="/pgbackrest", bucket=BUCKET, region="us-east-1",
        retention=RepositoryRetention(full=Duration(7, "d")),
    )  # fmt: skip

    def copy(who: str = "host-writer") -> JournalCopy:
        bucket = Bucket(enforced.clients[who], BUCKET)
        return JournalCopy(config, ChainCopy(config, repository, LAYOUT.journals, "journal", made=bucket))

    journal = Journal(config.journal_path, config.cluster_name)
    for number in range(5):
        journal.append(operation="backup", result="ok", details={"number": number})
    assert copy().ship() == 5
    assert copy().ship() == 0
    listed = thief.list_object_versions(Bucket=BUCKET, Prefix=f"{LAYOUT.journals}{machine()}/")["Versions"]
    assert len(listed) == 5
    for item in listed:
        with pytest.raises(ClientError, match="AccessDenied"):
            thief.delete_object(Bucket=BUCKET, Key=item["Key"], VersionId=item["VersionId"])
    thief.put_object(Bucket=BUCKET, Key=listed[3]["Key"], Body=b"{}")
    # The end is cut off with its mark, and with what the host knows of the copy.
    lines = journal.lines()
    for name in ("journal.jsonl", "journal.head", "journal-copy.json"):
        (tmp_path / name).unlink()
    journal.adopt(lines[:3])
    with pytest.raises(NotProvenError, match="line 4: entries 4 to 5 are gone"):
        copy().ship()
    # And one that begins anew; whoever may only read finds it too.
    for name in ("journal.jsonl", "journal.head"):
        (tmp_path / name).unlink()
    journal.append(operation="backup", result="ok")
    found = copy("restore-reader").compare(thorough=True).problem
    assert found is not None
    assert (found.line, "the journal was replaced (5 entries of it are there)" in found.what) == (1, True)
    assert copy().restore()[0] == 5
    assert journal.lines()[:5] == lines
    assert copy().compare(thorough=True).problem is None
