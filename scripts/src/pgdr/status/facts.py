"""Everything that a status is made of, asked at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pgdr import process
from pgdr.archive.dump import program_version
from pgdr.errors import ExitCode, PgdrError
from pgdr.health import Check, Level
from pgdr.heartbeat import Beat, newest
from pgdr.hostconfig import HostConfig
from pgdr.lookout import standbys
from pgdr.lookout.standbys import Readers
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.info import Backup, StanzaInfo
from pgdr.policy.model import Policy
from pgdr.policy.repository import PosixRepository
from pgdr.postgres.connection import connected
from pgdr.proof.findings import Findings, findings_file
from pgdr.proof.look import Server, ask_server, now, page_checks, repository_check
from pgdr.proof.marks import Marks, marks_file
from pgdr.proof.wal import WHOLE
from pgdr.retention.holds import Holds, holds_file
from pgdr.status.history import AHEAD, History, read_history
from pgdr.status.recent import RecentWal, changed_files, known_file, look, remember_speed
from pgdr.status.space import Disk, measure

#: What a disk is called that holds nothing but pg_wal.
WAL_DISK = "pg_wal"


@dataclass
class RepositoryFacts:
    """One repository.

    Attributes:
        key: its number.
        place: where it is.
        off_host: whether it outlives the host.
        checks: whether it can be read, and pages.
        backups: its sets, oldest first.
        recent: the end of its WAL.
    """

    key: int
    place: str
    off_host: bool
    checks: list[Check] = field(default_factory=list)
    backups: tuple[Backup, ...] = ()
    recent: RecentWal | None = None


@dataclass(frozen=True)
class Program:
    """A client program of PostgreSQL.

    Attributes:
        name: its name.
        major: its major version; 0 where it cannot be run.
        version: as it writes it.
        problem: why it cannot be run.
    """

    name: str
    major: int = 0
    version: str = ""
    problem: str = ""


@dataclass
class Facts:
    """What was found at one moment."""

    now: datetime
    policy: Policy
    server: Server
    beat: Beat | None
    repositories: list[RepositoryFacts]
    infos: dict[int, StanzaInfo]
    marks: Marks
    findings: Findings
    history: History
    holds: Holds
    disks: list[Disk]
    clock_synchronised: bool | None
    programs: tuple[Program, ...] = ()
    readers: Readers | None = None
    unread: tuple[PgdrError, ...] = ()

    def info_of(self, repository: int | None) -> StanzaInfo | None:
        """What a repository holds; without one, all that answered, as one."""
        if repository is not None:
            return self.infos.get(repository)
        if not self.infos:
            return None
        first = next(iter(self.infos.values()))
        return first.model_copy(update={"backup": tuple(b for info in self.infos.values() for b in info.backup)})


def gather(config: HostConfig, policy: Policy, *, patient: bool = True) -> Facts:
    """Ask host, server and repositories, all at once; what does not answer is a finding.

    Args:
        config: this host.
        policy: what was promised.
        patient: wait for a slow repository, and remember how long it took; a person at a screen waits for no more than
            a multiple of that.

    Raises:
        ConfigError: this host has no pgBackRest configuration.
    """
    client = PgBackRest(config)
    places = {item.key: item for item in client.repositories}
    # Asked before the repositories: a segment archived in between must not look like a claim without proof.
    server = ask_server(config)
    marks, no_marks = marks_file(config).read_or_say()
    marks = marks.until(now() + AHEAD)
    findings, no_findings = findings_file(config).read_or_say()
    holds, no_holds = holds_file(config).read_or_say()
    with ThreadPoolExecutor() as pool:
        beat = pool.submit(_beat, config)
        history = pool.submit(read_history, config, now())
        clock = pool.submit(_clock)
        programs = [pool.submit(_program, config, name) for name in ("pg_dump", "pg_restore")]
        readers = pool.submit(standbys.ask, config)
        empty = [RepositoryFacts(key, item.place, item.type != "posix") for key, item in places.items()]
        asked = [pool.submit(_repository, client, facts, server, marks, findings, patient=patient) for facts in empty]
        disks = measure(config, _paths(config, policy), now())
        answers = [future.result() for future in asked]
        return Facts(
            now=now(),
            policy=policy,
            server=server,
            beat=beat.result(),
            repositories=[facts for facts, _info in answers],
            infos={facts.key: info for facts, info in answers if info is not None},
            marks=marks,
            findings=findings,
            history=history.result(),
            holds=holds,
            disks=disks,
            clock_synchronised=clock.result(),
            programs=tuple(future.result() for future in programs),
            readers=readers.result(),
            unread=tuple(error for error in (no_marks, no_findings, no_holds) if error is not None),
        )


def _repository(
    client: PgBackRest, facts: RepositoryFacts, server: Server, marks: Marks, findings: Findings, *, patient: bool
) -> tuple[RepositoryFacts, StanzaInfo | None]:
    usual, began = "", time.monotonic()
    try:
        state = known_file(client.config).read()
        known, timeout = state.repositories.get(facts.key), state.patience(facts.key, patient=patient)
        if not patient and facts.key in state.seconds:
            usual = f", and usually it takes {state.seconds[facts.key]:.1f} s"
        if _doubted(findings, facts.key):
            known = None  # what was found there is looked at again, whole
        with ThreadPoolExecutor(max_workers=1) as pool:
            listing = pool.submit(changed_files, client, facts.key, known, timeout) if known is not None else None
            found = client.info(facts.key, timeout=timeout)
            facts.checks += [repository_check(found, facts.key)]
            if facts.checks[0].level is not Level.GREEN:
                return facts, found
            facts.checks.append(page_checks(found, facts.key))
            facts.backups = found.backups(facts.key)
            wal_from = marks.wal_from.get(facts.key, "")
            listed = listing.result() if listing is not None else None
            facts.recent = look(client, found, facts.key, server.segment_size, known, wal_from, listed)
            if patient and listing is not None:
                remember_speed(client.config, facts.key, time.monotonic() - began)
    except PgdrError as error:
        silent = error.exit_code is ExitCode.FAILED
        # Only said of a question that was given up.
        usual = usual if "did not end within" in error.message else ""
        facts.checks.append(
            Check(
                "repository",
                Level.RED,
                f"it does not answer: {error.message}{usual}" if silent else error.message,
                facts.key,
                endangers="every recovery from this repository",
                remedy=error.remedy
                or f"network, credentials and endpoint of the repository; pgdr info --repo {facts.key}",
                code=ExitCode.UNREACHABLE if silent else error.exit_code,
            )
        )
        return facts, None
    return facts, found


def _doubted(findings: Findings, repository: int) -> bool:
    """Whether the last look of any kind found something in the WAL of a repository that only a whole listing shows."""
    kept = (look.findings.get(f"{name}:{repository}") for look in findings.looks.values() for name in WHOLE)
    return any(item is not None and item.level is not Level.GREEN for item in kept)


def _beat(config: HostConfig) -> Beat | None:
    try:
        with connected(config, application_name="pgdr status") as connection:
            return newest(connection)
    except PgdrError:
        return None  # said once already: the server does not answer


def _program(config: HostConfig, name: str) -> Program:
    try:
        return Program(name, *program_version(config, name))
    except PgdrError as error:
        return Program(name, problem=error.message)


def _clock() -> bool | None:
    """Whether the kernel's clock follows a reference; ``None`` where nobody can say."""
    try:
        done = process.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"], allowed=lambda _: True, timeout=2
        )
    except PgdrError:
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def _paths(config: HostConfig, policy: Policy) -> dict[str, str]:
    wal = config.data_directory / "pg_wal"
    own = _device(wal) != _device(config.data_directory)
    paths = {str(config.data_directory): "data" if own else "data and pg_wal"}
    for repository in policy.repositories:
        if isinstance(repository, PosixRepository):
            paths[repository.path] = f"repository {repository.id}"
    if own:
        paths[str(wal)] = WAL_DISK
    return paths


def _device(path: Path) -> int | None:
    """The file system that a path is on; ``None`` where nobody can say."""
    try:
        return path.stat().st_dev
    except OSError:
        return None
