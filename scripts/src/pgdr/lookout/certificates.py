"""Certificates that a recovery needs: of the servers of buckets, of their authority, and PostgreSQL's own."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgdr import process
from pgdr.archive.inuse import in_use
from pgdr.errors import OperationFailedError, PgdrError, UnreachableError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.postgres.connection import connected
from pgdr.proof.usual import ago

AMBER_BEFORE, RED_BEFORE = timedelta(days=14), timedelta(days=3)
_TIMEOUT = 5.0
_SERVER = """
select current_setting('ssl')::bool, current_setting('ssl_cert_file'), current_setting('data_directory')
"""


@dataclass(frozen=True)
class Certificate:
    """One certificate.

    Attributes:
        name: the finding's name.
        what: whose it is, for a person.
        endangers: what fails when it has expired.
        remedy: what to do.
        repository: the repository's key, where it is one's.
        expires: when; ``None`` where it could not be looked at.
        problem: why not.
        refused: whether whoever verifies it refuses it.
    """

    name: str
    what: str
    endangers: str
    remedy: str
    repository: int | None = None
    expires: datetime | None = None
    problem: str = ""
    refused: bool = False


def look(config: HostConfig, policy: Policy) -> list[Certificate]:
    """Look at every certificate that can be had; what cannot is in the result too."""
    return [*_of_repositories(config, policy), *_of_server(config)]


def judge(found: Certificate, now: datetime) -> Check:
    """Say what a certificate means."""
    if found.expires is None:
        return Check(
            found.name,
            Level.RED if found.refused else Level.AMBER,
            f"the certificate of {found.what} {'is' if found.refused else 'could not be looked at:'} {found.problem}",
            found.repository,
            endangers=found.endangers,
            remedy=found.remedy,
        )
    left = found.expires - now
    when = f"the certificate of {found.what} {'expires' if left > timedelta(0) else 'expired'} {found.expires:%Y-%m-%d}"
    if left > AMBER_BEFORE:
        return green(found.name, when, found.repository)
    return Check(
        found.name,
        Level.RED if left <= RED_BEFORE else Level.AMBER,
        f"{when}, in {ago(left.total_seconds())}" if left > timedelta(0) else when,
        found.repository,
        since=found.expires - AMBER_BEFORE,
        endangers=found.endangers,
        remedy=found.remedy,
    )


def _of_repositories(config: HostConfig, policy: Policy) -> Iterator[Certificate]:
    for named in policy.s3_repositories:
        repository = in_use(config, named)
        yield from _of_endpoint(repository, "certificate", "")
        copy = repository.as_replica()
        if copy is not None and _server(copy) != _server(repository):
            yield from _of_endpoint(copy, "certificate-replica", "the copy of ")


def _server(repository: S3Repository) -> tuple[str, int]:
    return repository.effective_endpoint, repository.port or 443


def _of_endpoint(repository: S3Repository, name: str, of: str) -> Iterator[Certificate]:
    host, port = repository.effective_endpoint, repository.port or 443
    if repository.uri_style == "host":
        host = f"{repository.bucket}.{host}"
    endangers = "every backup, every WAL segment, and every recovery from this repository"
    if repository.verify_tls:
        what = f"{of}{host}:{port}"
        remedy = f"openssl s_client -connect {host}:{port} shows it; have it renewed by whoever runs the server"
        try:
            expires = _asked(host, port, repository.ca_file)
        except PgdrError as error:
            refused = isinstance(error, OperationFailedError)
            yield Certificate(name, what, endangers, remedy, repository.id, problem=error.message, refused=refused)
        else:
            yield Certificate(name, what, endangers, remedy, repository.id, expires)
    if repository.ca_file is not None and not of:  # a copy has the same authority
        yield _of_file(
            Path(repository.ca_file), f"{name}-authority", f"the authority in {repository.ca_file}", endangers,
            "put the authority's new certificate there (ca_file in the policy), then playbooks/site.yml", repository.id,
        )  # fmt: skip


def _asked(host: str, port: int, authority: str | None) -> datetime:
    """When the certificate expires that a server shows.

    Raises:
        UnreachableError: it does not answer.
        OperationFailedError: its certificate is not accepted.
    """
    try:
        context = ssl.create_default_context(cafile=authority)
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise OperationFailedError(f"not accepted: {error.verify_message}") from error
    except OSError as error:
        raise UnreachableError(f"{host}:{port} does not answer: {error.strerror or error}") from error
    return _moment(str(shown["notAfter"]))


def _of_server(config: HostConfig) -> Iterator[Certificate]:
    """PostgreSQL's own, where it speaks TLS; a server that does not answer is another finding."""
    try:
        with connected(config, "postgres", application_name="pgdr") as connection:
            row = connection.execute(_SERVER).fetchone()
    except PgdrError:
        return
    if row is not None and row[0]:
        yield _of_file(
            Path(row[2]) / row[1], "certificate-server", "PostgreSQL", "every connection that verifies the server",
            f"renew {row[1]}; then select pg_reload_conf()",
        )  # fmt: skip


def _of_file(
    path: Path, name: str, what: str, endangers: str, remedy: str, repository: int | None = None
) -> Certificate:
    try:
        text = process.run(["openssl", "x509", "-in", str(path), "-noout", "-enddate"], timeout=_TIMEOUT).stdout
        expires = _moment(text.strip().removeprefix("notAfter="))
    except (PgdrError, ValueError) as error:
        reason = error.message if isinstance(error, PgdrError) else str(error)
        return Certificate(name, what, endangers, remedy, repository, problem=reason.splitlines()[0])
    return Certificate(name, what, endangers, remedy, repository, expires)


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
