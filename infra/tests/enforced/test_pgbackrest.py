"""Real pgBackRest: the writer backs up, archives and expires; the reader restores and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pgdr.policy.cloud import Layout
from tests.enforced.host import Host, configure
from tests.enforced.store import BUCKET, LAYOUT, Enforced, identity_policies

# Beside the objects of the other tests.
_LAYOUT = Layout(repository="live/", stanza="erp")
_FORBIDDEN = "403 (Forbidden)"


@pytest.fixture(scope="module")
def host(enforced: Enforced, installed: Host) -> Iterator[Host]:
    made = installed
    policies = identity_policies(_LAYOUT)
    for who in ("host-writer", "restore-reader"):
        configure(made, enforced, who, path="/live")
        enforced.put_policy(who, policies[who], missing_is_listed=True)
    made.pgbackrest("host-writer", "--stanza=erp stanza-create")
    made.pgbackrest("host-writer", "--stanza=erp check")
    made.pgbackrest("host-writer", "--stanza=erp --type=full backup")
    made.sql("create table proof as select 1 as answer")
    yield made
    for who in ("host-writer", "restore-reader"):
        enforced.put_policy(who, identity_policies(LAYOUT)[who])


def test_writer_backs_up_archives_and_expires(host: Host) -> None:
    """The second full makes the first one superfluous: expire hides it, and nothing more."""
    first = _labels(host)
    host.pgbackrest("host-writer", "--stanza=erp --type=incr backup")
    host.pgbackrest("host-writer", "--stanza=erp --type=full backup")
    host.pgbackrest("host-writer", "--stanza=erp expire")
    assert first
    assert set(first) & set(_labels(host)) == set()
    host.pgbackrest("host-writer", "--stanza=erp verify")


def _labels(host: Host) -> list[str]:
    """Return the labels of the full backups, as the reader sees them."""
    told = host.pgbackrest("restore-reader", "--stanza=erp --output=json --log-level-console=off info").stdout
    return [backup["label"] for backup in json.loads(told)[0]["backup"] if backup["type"] == "full"]


def test_what_expire_hid_is_still_there(host: Host, enforced: Enforced) -> None:
    listed = enforced.clients["restore-reader"].list_object_versions(Bucket=BUCKET, Prefix="live/backup/erp/2")
    hidden = {marker["Key"] for marker in listed["DeleteMarkers"]}
    assert hidden
    assert hidden <= {version["Key"] for version in listed["Versions"]}


def test_reader_restores_to_the_last_transaction(host: Host) -> None:
    """Replay asks for WAL and histories that do not exist: each "not there" must be told from "not allowed"."""
    host.sql("insert into proof values (2)")
    host.sql("select pg_switch_wal()")
    host.pgbackrest("host-writer", "--stanza=erp check")
    with host.restored("restore-reader") as port:
        log = host.shell("cat /tmp/restored.log").stdout
        assert host.sql("select string_agg(answer::text, ',' order by answer) from proof", port=port) == "1,2", log
        assert _FORBIDDEN not in log


def _names(enforced: Enforced, prefix: str) -> list[tuple[str, str]]:
    """Return name and version of all that was ever below a prefix, delete markers too."""
    pages = enforced.clients["break-glass"].get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
    both = [entry for page in pages for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", []))]
    return sorted((entry["Key"], entry["VersionId"]) for entry in both)


def test_reader_neither_backs_up_nor_expires(host: Host, enforced: Enforced) -> None:
    # Two fulls with a retention of one: there is something to expire.
    host.pgbackrest("host-writer", "--stanza=erp --type=full --no-expire-auto backup")
    before = _names(enforced, _LAYOUT.backups)
    for command in ("--type=incr backup", "expire"):
        done = host.pgbackrest("restore-reader", f"--stanza=erp {command}", check=False)
        assert done.returncode != 0
        assert _FORBIDDEN in done.stdout + done.stderr, (command, done)
    assert _names(enforced, _LAYOUT.backups) == before


def test_reader_archives_nothing(host: Host, enforced: Enforced) -> None:
    forged = "00000001000000AA00000001"
    # Not in pg_wal: the server would recycle it.
    host.shell(
        f"mkdir -p forged; cp $(ls -1 {host.data}/pg_wal | grep -E '^[0-9A-F]{{24}}$' | head -1 | "
        f"sed 's#^#{host.data}/pg_wal/#') forged/{forged}"
    )
    done = host.pgbackrest("restore-reader", f"--stanza=erp archive-push /tmp/forged/{forged}", check=False)
    assert done.returncode != 0
    assert _FORBIDDEN in done.stdout + done.stderr
    assert [name for name, _ in _names(enforced, _LAYOUT.wal) if forged in name] == []


def test_writer_makes_no_other_stanza(host: Host, enforced: Enforced) -> None:
    configure(host, enforced, "host-writer", path="/live", stanza="other", name="host-writer-other")
    done = host.pgbackrest("host-writer-other", "--stanza=other stanza-create", check=False)
    assert done.returncode != 0
    assert _FORBIDDEN in done.stdout + done.stderr
    assert _names(enforced, "live/backup/other/") == _names(enforced, "live/archive/other/") == []
