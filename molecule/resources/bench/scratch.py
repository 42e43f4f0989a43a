"""A second PostgreSQL cluster on a host, to be measured on and thrown away; the protected one stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from bench.host import Host
from pgdr.errors import OperationFailedError

VERSION = 17
NAME, PORT, ROLE = "bench", 5433, "bench"
DATA = f"/var/lib/postgresql/{VERSION}/{NAME}"
_ETC = f"/etc/postgresql/{VERSION}/{NAME}"
_PROTECTED = f"/etc/postgresql/{VERSION}/main/conf.d/50-pgdr.conf"
UNIT = f"postgresql@{VERSION}-{NAME}"


@dataclass(frozen=True)
class Scratch:
    """The cluster.

    Attributes:
        host: where it runs.
        password: of its superuser ``bench``, who may come from the lab's network.
    """

    host: Host
    password: str

    def make(self, settings: Sequence[str] = (), env: Sequence[str] = ()) -> None:
        """Make and start it, with the settings of the protected cluster and some of its own.

        Args:
            settings: lines for its configuration.
            env: lines for the environment of its server.
        """
        self.drop()
        options = ["--port", str(PORT), "--start-conf=manual", "--", "--data-checksums"]
        self.host.run(["pg_createcluster", "--encoding=UTF8", "--locale=C.UTF-8", str(VERSION), NAME, *options])
        self.host.run(["cp", _PROTECTED, f"{_ETC}/conf.d/50-pgdr.conf"])
        # Nothing of it goes into the stanza of the protected cluster.
        own = ["archive_command = ''", "listen_addresses = '*'", *settings]
        self.host.write(f"{_ETC}/conf.d/60-bench.conf", "\n".join(own) + "\n")
        self.host.write(f"{_ETC}/environment", "".join(f"{line}\n" for line in env))
        self.host.run(["tee", "--append", f"{_ETC}/pg_hba.conf"], stdin=f"hostssl all {ROLE} samenet scram-sha-256\n")
        self.start()
        role = f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{self.password}'"
        argv = ["psql", f"--port={PORT}", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        self.host.run(argv, user="postgres", stdin=role)

    def start(self) -> None:
        """Start it."""
        self.host.run(["systemctl", "start", UNIT])

    def stop(self) -> None:
        """Stop it, with everything on the disk."""
        self.host.run(["systemctl", "stop", UNIT])

    def drop(self) -> None:
        """Stop it, and leave nothing of it."""
        self.host.run(["bash", "-c", f"systemctl stop {UNIT}; pg_dropcluster --stop {VERSION} {NAME} || true"])
        self.host.remove(DATA, _ETC)

    @property
    def dsn(self) -> str:
        """How the machine of the lab reaches it; the password comes from the environment."""
        return f"host={self.host.ip} port={PORT} dbname=postgres user={ROLE} connect_timeout=10"

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        """Ask it something.

        Raises:
            OperationFailedError: it refused.
        """
        try:
            with psycopg.connect(self.dsn, password=self.password, autocommit=True) as connection:
                yield connection
        except psycopg.Error as error:
            raise OperationFailedError(f"the scratch cluster on {self.host.name}: {error}") from error
