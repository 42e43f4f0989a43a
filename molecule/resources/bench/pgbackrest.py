"""Variants of the role's pgBackRest configuration on a host, and commands that use one of them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.configuration import Configuration
from bench.host import Host

STANZA = "bench"
_FOLDER = "/etc/pgbackrest-bench"
_ROLE = ("/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest/conf.d/credentials.conf")


def of_role(host: Host) -> Configuration:
    """The configuration that the role wrote on a host, secrets included."""
    return Configuration.parse(*(host.run(["cat", path]) for path in _ROLE))


@dataclass(frozen=True)
class Variant:
    """One configuration on a host.

    Attributes:
        host: where it lies.
        name: of the variant.
    """

    host: Host
    name: str

    @classmethod
    def write(cls, host: Host, name: str, configuration: Configuration) -> Variant:
        """Put a configuration on a host, readable by the cluster's user only."""
        variant = cls(host, name)
        host.remove(variant.folder)
        host.run(["install", "--directory", "--owner=postgres", "--mode=0700", variant.folder])
        host.write(f"{variant.folder}/pgbackrest.conf", configuration.text(), owner="postgres", mode="0600")
        return variant

    @property
    def folder(self) -> str:
        """Where pgBackRest finds it, and nothing of the protected cluster's."""
        return f"{_FOLDER}/{self.name}"

    def command(self, *arguments: str) -> list[str]:
        """An argument list of pgBackRest."""
        return ["pgbackrest", f"--config-path={self.folder}", f"--stanza={STANZA}", *arguments]

    def run(self, *arguments: str) -> str:
        """Run it as the cluster's user and return its output."""
        return self.host.run(self.command(*arguments), user="postgres")

    def seconds(self, *arguments: str) -> float:
        """Run it as the cluster's user and return its wall time."""
        return self.host.seconds(self.command(*arguments), user="postgres")


def remove_all(host: Host) -> None:
    """Remove every variant."""
    host.remove(_FOLDER)
