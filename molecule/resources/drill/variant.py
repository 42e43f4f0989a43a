"""A host configuration that is wrong in one thing, beside the right one: what would be refused with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import yaml

from drill.host import Host


@dataclass(frozen=True)
class Variant:
    """A host configuration that is wrong in one thing.

    Attributes:
        name: what is wrong.
        host: keys of host.yml to change.
        engine: options of pgBackRest to change.
    """

    name: str
    host: dict[str, object] = field(default_factory=dict)
    engine: dict[str, str] = field(default_factory=dict)


@contextmanager
def variant(host: Host, wrong: Variant) -> Iterator[str]:
    """Have a copy of the host's configuration with something wrong in it; yields the path of its host.yml."""
    folder = f"/run/pgdr/wrong-{wrong.name}"
    content = yaml.safe_load(host.run("cat", "/etc/pgdr/host.yml").stdout)
    content |= wrong.host
    if wrong.engine:
        content["pgbackrest_config"] = f"{folder}/pgbackrest/pgbackrest.conf"
    host.run("install", "-d", "-o", "postgres", "-m", "0700", folder)
    host.run("cp", "-a", "/etc/pgbackrest", folder)
    for option, value in wrong.engine.items():
        change = f"s|^{option}=.*|{option}={value}|"
        for file in ("pgbackrest.conf", "conf.d/credentials.conf"):
            host.run("sed", "-i", change, f"{folder}/pgbackrest/{file}")
    host.postgres("tee", f"{folder}/host.yml", input=yaml.safe_dump(content))
    try:
        yield f"{folder}/host.yml"
    finally:
        host.run("rm", "-r", folder)
