"""Whether this host is what its backups take it for: the right cluster, programs, clock and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgdr.errors import PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.spool import queue_limit
from pgdr.side.reader import means_of
from pgdr.status.endings import gave_way_checks, killed_checks
from pgdr.status.facts import Facts
from pgdr.status.pace import pace_checks


def host_checks(config: HostConfig, facts: Facts) -> Iterator[Check]:
    """Look at the host itself."""
    yield from identity_checks(facts)
    yield _programs(facts)
    yield from _queue(config)
    yield from _readers(config)
    yield from killed_checks(config)
    yield from gave_way_checks(facts.history)
    for item in facts.repositories:
        yield from pace_checks(item.backups, item.key)


def state_checks(unread: Sequence[PgdrError]) -> Iterator[Check]:
    """Whether what pgdr keeps on this host can be read; one finding for all of it."""
    if not unread:
        yield green("state", "what pgdr knows of this host can be read")
        return
    yield Check(
        "state",
        Level.RED,
        "; ".join(error.message for error in unread),
        endangers="what pgdr knows: which backups are verified, proven and held, and what people were told",
        remedy="; ".join(dict.fromkeys(error.remedy for error in unread if error.remedy)),
        code=unread[0].exit_code,
    )


def _readers(config: HostConfig) -> Iterator[Check]:
    """What side instances and rehearsals read the buckets with; the host's own key is no fault, and worth a line."""
    try:
        client = PgBackRest(config)
        for item in client.repositories:
            if item.type == "s3":
                yield green("side-reader", means_of(client, item.key).told, item.key)
    except PgdrError:
        return  # another finding says that the configuration cannot be read


def identity_checks(facts: Facts) -> Iterator[Check]:
    """Whether the server is the cluster that the stanza belongs to: pgBackRest takes WAL and backups of no other."""
    server = facts.server.facts
    if server is None:
        return
    for key, info in facts.infos.items():
        stanza = info.database(key)
        if stanza is None:
            continue
        if str(stanza.system_id) == server.system_identifier and stanza.version == str(server.major):
            yield green("identity", "this server is the cluster that the stanza belongs to", key)
            continue
        yield Check(
            "identity",
            Level.RED,
            f"this server is cluster {server.system_identifier} of PostgreSQL {server.major}; stanza {info.name} "
            f"belongs to {stanza.system_id} of PostgreSQL {stanza.version}: none of its WAL and backups are taken",
            key,
            endangers="every change that is made here",
            remedy="start the right cluster; a new one needs another stanza; after a major upgrade: pgbackrest "
            "stanza-upgrade",
        )


def _programs(facts: Facts) -> Check:
    """Whether the client programs can dump and restore this server: an older one refuses, at three in the morning."""
    server = facts.server.facts
    if server is None:
        return green("programs", "the server says no version to compare with")
    for program in facts.programs:
        if program.major < server.major:
            return Check(
                "programs",
                Level.RED,
                program.problem
                or f"{program.name} {program.version} cannot work with a server of version {server.version}",
                endangers="logical archives and every restore from them",
                remedy=f"install postgresql-client-{server.major} and name it in host.yml, bin_directory",
            )
    return green("programs", "pg_dump and pg_restore are as new as the server")


def _queue(config: HostConfig) -> Iterator[Check]:
    try:
        limit = queue_limit(config.pgbackrest_config)
    except PgdrError:
        return  # an unreadable configuration was said before
    if limit is None:
        yield green("wal-queue", "WAL waits for as long as it must")
        return
    yield Check(
        "wal-queue",
        Level.RED,
        f"archive-push-queue-max={limit} is set: when more than that waits, pgBackRest reports WAL as archived and "
        "throws it away",
        endangers="every change from the first outage on until the next full backup",
        remedy="ansible-playbook playbooks/site.yml takes it out; then pgdr verify, which begins a full backup where "
        "WAL is lost",
    )
