"""boto3's client for the server of a repository, and its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from pgdr.errors import ConfigError, NotProvenError, PgdrError, RefusedError, UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.repositories import access_key
from pgdr.policy.repository import S3Repository

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

# For answers of a few kilobytes; each question is asked twice.
_HURRIED_SECONDS = 10.0
# boto3's default session makes one client at a time.
_MAKING = Lock()


def client_of(
    config: HostConfig, repository: S3Repository, *, region: str | None = None, hurried: bool = False
) -> S3Client:
    """Return boto3's client for the server of a repository, with the repository's own key.

    Args:
        config: what this host is; pgBackRest's configuration holds the key.
        repository: the repository.
        region: another region than the repository's.
        hurried: give up soon: somebody waits, and it is tried again later.

    Raises:
        ConfigError: the repository wants a key and the host has none.
    """
    key = None
    if repository.key_type == "shared":
        key = access_key(config.pgbackrest_config, config.stanza, repository.id)
        if key is None:
            raise ConfigError(
                f"repository {repository.id} has no key on this host", remedy="run the role pgbackrest on this host"
            )
    # Only here: importing boto3 costs half a second, which most commands need not pay.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    port = f":{repository.port}" if repository.port else ""
    endpoint = None if repository.endpoint is None else f"https://{repository.endpoint}{port}"
    with _MAKING:
        return boto3.client(
            "s3",
            region_name=region or repository.region,
            endpoint_url=endpoint,
            verify=repository.ca_file or repository.verify_tls,
            aws_access_key_id=key.key if key else None,
            aws_secret_access_key=key.secret if key else None,
            aws_session_token=key.token if key else None,
            config=Config(
                s3={"addressing_style": "path" if repository.uri_style == "path" else "virtual"},
                retries={"max_attempts": 2 if hurried else 5, "mode": "standard"},
                connect_timeout=3 if hurried else 10,
                read_timeout=_HURRIED_SECONDS if hurried else 120,
                max_pool_connections=32,
                # Ours are sent with every object; an unknown trailer is refused by servers other than AWS.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


@contextmanager
def explained(bucket: str, key: str) -> Iterator[None]:
    """Turn boto3's errors into one line each."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        raise _explain(error, f"s3://{bucket}/{key}") from error
    except BotoCoreError as error:
        raise UnreachableError(f"s3://{bucket}/{key}: {error}", remedy="run again: what was sent stays") from error


def _explain(error: Any, place: str) -> PgdrError:
    code = str(error.response["Error"].get("Code", ""))
    message = str(error.response["Error"].get("Message", "")) or code
    if code == "InvalidObjectState":
        return RefusedError(f"{place} is in a cold class", remedy="pgdr archives fetch LABEL thaws it")
    if code in {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}:
        return NotProvenError(f"{place}: the server received something else: {message}", remedy="run again")
    if code in {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
        return RefusedError(f"{place}: access denied ({message})", remedy="see the repository's key and its policy")
    if code in {"SlowDown", "ServiceUnavailable", "InternalError", "500", "503"}:
        return UnreachableError(f"{place}: {message}", remedy="run again: what was sent stays")
    return RefusedError(f"{place}: {message} [{code}]")
