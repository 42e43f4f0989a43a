"""What this database host is: the model of ``/etc/pgdr/host.yml``.

The role ``pgdr`` writes the file; nothing in it is secret. Every other module gets its paths, names and port
from here, so that no path is written down twice and a test can put a whole host into a temporary folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pgdr.errors import ConfigError

DEFAULT_PATH = Path("/etc/pgdr/host.yml")
ENVIRONMENT_VARIABLE = "PGDR_CONFIG"


def _absolute(path: Path) -> Path:
    """Refuse a relative path: what it means would depend on where cron happens to stand."""
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
# These become part of argument lists, file names and lock names: no slash, no leading dash, no white space.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)]


class HostConfig(BaseModel):
    """One database host as ``pgdr`` sees it. Unknown keys are refused.

    Attributes:
        stanza: pgBackRest's name for the cluster.
        cluster_name: the name that a person types to consent to something destructive.
        database: the ERP database.
        postgresql_version: major version.
        postgresql_cluster: the cluster's name in Debian's layout.
        data_directory: the cluster's data directory.
        bin_directory: where ``postgres``, ``pg_ctl`` and ``pg_controldata`` of this version are.
        port: the server's port; it also names the socket.
        socket_directory: where the server's socket is.
        state_directory: journal and recovery state.
        log_directory: logs of scheduled runs.
        run_directory: locks.
        pgbackrest_binary: the engine.
        pgbackrest_config: its main file; ``conf.d`` beside it holds the credentials.
        restore_command_wrapper: the program that fetches WAL during a recovery.
        notification_secrets: URLs of the policy's channels by the name of the secret; mode 0600.
        metrics_file: where ``pgdr watch`` writes metrics for Prometheus; ``None``: nowhere.
        policy_path: the recovery policy of this host's environment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stanza: Name
    cluster_name: Name
    database: Annotated[str, Field(min_length=1, max_length=63)]
    postgresql_version: Annotated[int, Field(ge=14, le=99)]
    postgresql_cluster: Name = "main"
    data_directory: AbsolutePath
    bin_directory: AbsolutePath
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    socket_directory: AbsolutePath = Path("/var/run/postgresql")
    state_directory: AbsolutePath = Path("/var/lib/pgdr")
    log_directory: AbsolutePath = Path("/var/log/pgdr")
    run_directory: AbsolutePath = Path("/run/pgdr")
    pgbackrest_binary: AbsolutePath = Path("/usr/bin/pgbackrest")
    pgbackrest_config: AbsolutePath = Path("/etc/pgbackrest/pgbackrest.conf")
    restore_command_wrapper: AbsolutePath = Path("/opt/pgdr/libexec/restore-wal")
    notification_secrets: AbsolutePath = Path("/etc/pgdr/notification.yml")
    metrics_file: AbsolutePath | None = None
    policy_path: AbsolutePath = Path("/etc/pgdr/policy.yml")

    @property
    def journal_path(self) -> Path:
        """The hash-chained record of every operation."""
        return self.state_directory / "journal.jsonl"

    @property
    def config_directory(self) -> Path:
        """Where Debian keeps this cluster's ``postgresql.conf`` and ``pg_hba.conf``."""
        return Path("/etc/postgresql") / str(self.postgresql_version) / self.postgresql_cluster

    @property
    def service_unit(self) -> str:
        """The systemd unit that runs this cluster."""
        return f"postgresql@{self.postgresql_version}-{self.postgresql_cluster}.service"

    def program(self, name: str) -> str:
        """The absolute path of one of PostgreSQL's programs, for an argument list."""
        return str(self.bin_directory / name)


def config_path(explicit: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the file to read: the explicit one, else ``PGDR_CONFIG``, else the default."""
    if explicit is not None:
        return explicit
    named = (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else DEFAULT_PATH


def load(path: Path | None = None) -> HostConfig:
    """Read and check a host configuration file.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML, or does not fit the model.
    """
    source = config_path(path)
    try:
        data: Any = yaml.safe_load(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no host configuration at {source}",
            remedy=f"run the role pgdr on this host, or name the file with --config or {ENVIRONMENT_VARIABLE}",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"cannot read {source}: {reason}", remedy="run as postgres or root") from error
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{source} is not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source} must hold a mapping of settings")
    try:
        return HostConfig.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(f"{_key(item['loc'])}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{source}: {problems}", remedy="run the role pgdr again") from error


def _key(location: tuple[int | str, ...]) -> str:
    """Write a place in the file as a person would."""
    return ".".join(str(part) for part in location) or "file"
