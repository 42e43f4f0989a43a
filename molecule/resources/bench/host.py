"""Run and time programs on a host of the lab; the clock is the host's, so ssh costs nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.api import Lab
from pgdr.errors import OperationFailedError

_TAIL = 15
# A folder that everyone may enter: programs started as postgres complain about root's.
_RUN = 'cd / && exec "$@"'
_TIMED = 'cd / && TIMEFORMAT=%3R && time "$@" >/dev/null'


@dataclass(frozen=True)
class Host:
    """One host of a lab.

    Attributes:
        lab: its lab.
        name: its name there.
    """

    lab: Lab
    name: str

    @property
    def ip(self) -> str:
        """Its address."""
        return self.lab.host_ip(self.name)

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> str:
        """Run a program and return its standard output.

        Raises:
            OperationFailedError: it ended with another status than 0.
        """
        return self._bash(_RUN, argv, user, env, stdin).stdout

    def seconds(self, argv: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None) -> float:
        """Run a program and return its wall time, after everything before it has reached the disk.

        Raises:
            OperationFailedError: it ended with another status than 0.
        """
        self.run(["sync"])
        done = self._bash(_TIMED, argv, user, env, None)
        return float(done.stderr.splitlines()[-1])

    def script(self, text: str, *, user: str = "postgres", env: Mapping[str, str] | None = None) -> float:
        """Run a shell script to its end and return its wall time.

        Raises:
            OperationFailedError: one of its commands failed.
        """
        self.write("/var/tmp/bench-script", text, mode="0755")  # noqa: S108 - root writes it, in a throw-away host
        return self.seconds(["bash", "-euo", "pipefail", "/var/tmp/bench-script"], user=user, env=env)  # noqa: S108

    def write(self, path: str, text: str, *, owner: str = "root", mode: str = "0644") -> None:
        """Write a file; its text, which may be a secret, never stands in an argument list."""
        self.run(["install", "-D", f"--owner={owner}", f"--mode={mode}", "/dev/stdin", path], stdin=text)

    def remove(self, *paths: str) -> None:
        """Remove files and folders; what is not there is no fault."""
        self.run(["rm", "--recursive", "--force", "--", *paths])

    def make_folder(self, path: str) -> None:
        """Have an empty folder of the cluster's user."""
        self.remove(path)
        self.run(["install", "--directory", "--owner=postgres", "--group=postgres", "--mode=0700", path])

    def _bash(
        self, line: str, argv: Sequence[str], user: str, env: Mapping[str, str] | None, stdin: str | None
    ) -> subprocess.CompletedProcess[str]:
        words = [*_as_user(user), *_with(env), *argv]
        done = self.lab.run(self.name, ["bash", "-c", line, "bench", *words], check=False, **_input(stdin))
        if done.returncode != 0:
            lines = [text for text in (*done.stdout.splitlines(), *done.stderr.splitlines()) if text.strip()]
            raise OperationFailedError(
                f"{argv[0]} ended with {done.returncode} on {self.name}: " + "\n".join(lines[-_TAIL:])
            )
        return done


def _as_user(user: str) -> list[str]:
    return [] if user == "root" else ["runuser", f"--user={user}", "--"]


def _with(env: Mapping[str, str] | None) -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in env.items())] if env else []


def _input(text: str | None) -> dict[str, str]:
    return {} if text is None else {"input": text}
