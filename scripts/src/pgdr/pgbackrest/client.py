"""pgBackRest as a library: argument lists, running, and its answers as models or errors.

No secret is ever an argument: pgBackRest reads passphrases and keys from its own 0600 file in ``conf.d``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pgdr import process
from pgdr.errors import OperationFailedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest import info as info_models
from pgdr.pgbackrest import verification
from pgdr.pgbackrest.faults import error_for
from pgdr.pgbackrest.info import BackupType, StanzaInfo
from pgdr.pgbackrest.repositories import ConfiguredRepository, configured
from pgdr.pgbackrest.verification import EngineVerdict
from pgdr.process import Completed

# An unreachable S3 endpoint is given up after nine rounds of io-timeout, a minute each.
_INFO_TIMEOUT = 600.0
# Whoever asks what there is gets an answer before that; a list of sets is a few kilobytes.
_ANSWER_TIMEOUT = 60.0
_CHECK_TIMEOUT = 900.0
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")

Runner = Callable[[Sequence[str]], Completed]


@dataclass(frozen=True)
class RepositoryFile:
    """A file or folder of a repository.

    Attributes:
        size: bytes, as stored.
        time: when it was stored, seconds since the epoch.
        folder: whether it is a folder.
    """

    size: int
    time: int
    folder: bool


class PgBackRest:
    """pgBackRest on this host, for this host's stanza.

    Args:
        config: what this host is.
        runner: runs an argument list to its end and returns what it left behind, whatever its status;
            long commands get one that shows progress and forwards signals.
    """

    def __init__(self, config: HostConfig, runner: Runner | None = None) -> None:
        self.config = config
        self._runner = runner

    def command(self, *args: str, console_level: str = "off") -> list[str]:
        """Return the complete argument list of a pgBackRest command.

        Args:
            args: the command with its own options and parameters.
            console_level: pgBackRest's log level for standard output; ``detail`` names each restored file.

        The configuration's own folder is named too: with ``--config`` alone pgBackRest would leave out
        ``conf.d``, and with it the credentials. Messages go to standard error, so that standard output
        holds nothing but the answer.
        """
        path = self.config.pgbackrest_config
        named = any(arg.startswith("--log-level-stderr=") for arg in args)
        return [
            str(self.config.pgbackrest_binary),
            f"--config={path}",
            f"--config-path={path.parent}",
            f"--stanza={self.config.stanza}",
            f"--log-level-console={console_level}",
            *([] if named else ["--log-level-stderr=warn"]),
            *args,
        ]

    @cached_property
    def repositories(self) -> tuple[ConfiguredRepository, ...]:
        """The configured repositories, lowest key first."""
        return configured(self.config.pgbackrest_config, self.config.stanza)

    def version(self) -> tuple[int, int, int]:
        """The version of the installed program, for example ``(2, 55, 1)``."""
        done = process.run([str(self.config.pgbackrest_binary), "version"], timeout=30)
        found = _VERSION.search(done.stdout)
        if found is None:
            raise OperationFailedError(f"pgBackRest's version is not understood: {done.stdout.strip()!r}")
        return int(found[1]), int(found[2]), int(found[3] or 0)

    def info(
        self,
        repo: int | None = None,
        backup_set: str | None = None,
        *,
        as_of: datetime | None = None,
        timeout: float | None = None,
    ) -> StanzaInfo:
        """Ask the repositories what they hold, all of them at once: one that hangs hides no other.

        Args:
            repo: one repository only.
            backup_set: this set only, with its databases, links, tablespaces and damaged files.
                ``repo`` is required with it.
            as_of: as the versions of the bucket's objects were at this moment; ``repo`` is required with it.
            timeout: seconds after which the question is given up; by default one repository that does not answer
                within a minute is said to be unreachable.

        Raises:
            OperationFailedError: ``timeout`` is over.
            PgBackRestError: the question failed as a whole. A repository that could not be read does not
                raise: see ``status`` of each repository in the answer.
        """
        keys = [item.key for item in self.repositories]
        if repo is None and len(keys) > 1:
            with ThreadPoolExecutor() as pool:
                return info_models.joined(list(pool.map(lambda key: self.info(key, timeout=timeout), keys)))
        args = ["--output=json"]
        if repo is not None:
            args.append(f"--repo={repo}")
        if backup_set is not None:
            args.append(f"--set={backup_set}")
        args += _as_of(as_of)
        patience = timeout or (_ANSWER_TIMEOUT if backup_set is None else _INFO_TIMEOUT)
        try:
            done = self._short(*args, "info", timeout=patience)
        except process.TimedOutError:
            if timeout is not None:
                raise
            return info_models.silent(self.config.stanza, repo or keys[0], patience)
        if done.returncode != 0:
            raise error_for(done, action="info")
        return info_models.parse(done.stdout, self.config.stanza)

    def check(self) -> None:
        """Switch WAL and see the segment arrive in every repository.

        pgBackRest's ``check`` knows no ``--repo``: one unreachable repository fails it for all. For one
        repository alone use :func:`pgdr.archiving.prove_archiving`.

        Raises:
            PgBackRestError: the segment did not arrive, or the configuration is wrong.
        """
        done = self._short("check", timeout=_CHECK_TIMEOUT)
        if done.returncode != 0:
            raise error_for(done, action="check of all repositories")

    def expire_set(self, repo: int, label: str | None, *, keep_wal_of: int) -> None:
        """Remove one set with all that builds on it, and WAL that no set needs any more.

        Whatever the configuration says of retention: no other set is removed.

        Args:
            repo: the repository's key.
            label: the set; ``None`` removes WAL only.
            keep_wal_of: WAL stays whole from the start of so many of the newest fulls on; older sets keep the WAL
                that they need to become consistent.

        Raises:
            PgBackRestError: it failed; pgBackRest refuses to remove the last full.
        """
        done = self.run(
            f"--repo={repo}",
            f"--repo{repo}-retention-full-type=count",
            f"--repo{repo}-retention-full=9999999",
            f"--repo{repo}-retention-archive-type=full",
            f"--repo{repo}-retention-archive={keep_wal_of}",
            *([f"--set={label}"] if label is not None else []),
            "expire",
        )
        if done.returncode != 0:
            raise error_for(done, action=f"expiry of {label or 'WAL'} in repository {repo}")

    def verify(self, repo: int) -> EngineVerdict:
        """Have pgBackRest read everything in one repository and compare checksums. Takes long: it is all read.

        Raises:
            PgBackRestError: it could not do so.
            OperationFailedError: what it said is not understood.
        """
        done = self.run(f"--repo={repo}", "--output=text", "--verbose", "--log-level-stderr=detail", "verify")
        if done.returncode != 0:
            raise error_for(done, action=f"verification of repository {repo}")
        return verification.parse(done)

    def list_files(
        self, path: str, repo: int, *, recurse: bool = False, timeout: float = _INFO_TIMEOUT
    ) -> dict[str, RepositoryFile]:
        """List the files below a path of one repository.

        Args:
            path: from the repository's root, for example ``archive/erp``.
            repo: the repository's key.
            recurse: folders below it too; names are then relative to ``path``.
            timeout: seconds after which the question is given up.

        Raises:
            PgBackRestError: the repository could not be read.
        """
        more = ["--recurse"] if recurse else []
        done = self._short(f"--repo={repo}", "--output=json", *more, "repo-ls", path, timeout=timeout)
        if done.returncode != 0:
            raise error_for(done, action=f"listing of {path} in repository {repo}")
        listing: dict[str, dict[str, Any]] = json.loads(done.stdout or "{}")
        return {
            name: RepositoryFile(int(entry.get("size", 0)), int(entry.get("time", 0)), entry["type"] == "path")
            for name, entry in listing.items()
            if name != "."
        }

    def read_file(self, path: str, repo: int, *, as_of: datetime | None = None, timeout: float = _INFO_TIMEOUT) -> str:
        """Return the text of a file of one repository, decrypted.

        Args:
            path: from the repository's root.
            repo: the repository's key.
            as_of: see :meth:`info`.
            timeout: seconds after which the question is given up.

        Raises:
            PgBackRestError: it is missing, damaged or cannot be read.
        """
        done = self._short(f"--repo={repo}", *_as_of(as_of), "repo-get", path, timeout=timeout)
        if done.returncode != 0:
            raise error_for(done, action=f"{path} in repository {repo}")
        return done.stdout

    def archive_get(self, segment: str, target: Path, repo: int, *, data: Path | None = None) -> bool:
        """Fetch one WAL segment from one repository, without the spool.

        Args:
            segment: its name.
            target: the file to be made.
            repo: the repository's key.
            data: a data directory whose control file says which cluster it is; ``None`` for the configured one.

        Returns:
            whether the repository has it.

        Raises:
            PgBackRestError: the repository could not be asked.
        """
        done = self._short(
            *(f"--repo={repo}", "--no-archive-async", *_cluster_of(data), "archive-get", segment, str(target)),
            timeout=_INFO_TIMEOUT,
        )
        if done.returncode not in {0, 1}:
            raise error_for(done, action=f"fetch of {segment} from repository {repo}")
        return done.returncode == 0

    def archive_push(self, segment: Path, *, data: Path | None = None) -> None:
        """Bring one WAL segment into every repository, without the spool; one that is there already is left alone.

        Args:
            segment: its file.
            data: see :meth:`archive_get`.

        Raises:
            PgBackRestError: a repository could not take it, or holds another one of this name.
        """
        done = self._short(
            *("--no-archive-async", *_cluster_of(data), "archive-push", str(segment)), timeout=_CHECK_TIMEOUT
        )
        if done.returncode != 0:
            raise error_for(done, action=f"archiving of {segment.name}")

    def backup(self, kind: BackupType, repo: int, options: Sequence[str] = ()) -> Completed:
        """Take a backup into one repository and return what pgBackRest said.

        Nothing is expired: a set that turns out to be damaged must not push out a good one. Call
        :meth:`expire` when the new set is known to be good.

        Args:
            kind: type of the backup; pgBackRest turns an incremental without a prior full into a full.
            repo: the repository's key.
            options: more of pgBackRest's options, as arguments.

        Raises:
            PgBackRestError: it failed.
        """
        done = self.run(f"--type={kind}", f"--repo={repo}", "--no-expire-auto", *options, "backup")
        if done.returncode != 0:
            raise error_for(done, action=f"backup to repository {repo}")
        return done

    def run(self, *args: str) -> Completed:
        """Run a long command to its end, whatever its status, with the runner of this client."""
        argv = self.command(*args)
        if self._runner is not None:
            return self._runner(argv)
        return process.run(argv, allowed=_any)

    def _short(self, *args: str, timeout: float) -> Completed:
        return process.run(self.command(*args), allowed=_any, timeout=timeout)


def _cluster_of(data: Path | None) -> list[str]:
    return [] if data is None else [f"--pg1-path={data}"]


def _as_of(moment: datetime | None) -> list[str]:
    return [] if moment is None else [f"--repo-target-time={moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00"]


def _any(_status: int) -> bool:
    return True
