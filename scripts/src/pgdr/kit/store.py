"""Where kits are kept: one object of the bucket, whose versions are its history.

The bucket's own rules keep the newest versions (infra/storage); whoever stores a kit needs to delete nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgdr.errors import ConfigError, OperationFailedError, PgdrError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from pgdr.policy.repository import S3Repository

_DIGEST = "pgdr-kit-digest"
_TIMEOUT_SECONDS = 20
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})


@dataclass(frozen=True)
class Place:
    """A bucket and how to reach it.

    Attributes:
        bucket: its name.
        region: its region.
        endpoint_url: URL of the server.
        path_style: requests name the bucket in the path.
        ca_file: certificate of a private authority, on this machine.
        kms_key_id: key that new kits are encrypted with; empty for the bucket's default.
    """

    bucket: str
    region: str
    endpoint_url: str
    path_style: bool = False
    ca_file: Path | None = None
    kms_key_id: str = ""


@dataclass(frozen=True)
class Version:
    """One kit in the bucket."""

    version_id: str
    stored_at: datetime
    size: int
    latest: bool


def place_of(repository: S3Repository, *, replica: bool, endpoint_url: str = "", ca_file: Path | None = None) -> Place:
    """Return where the kits of a repository's bucket are, or those of its copy.

    Args:
        repository: the repository of the policy.
        replica: the copy is meant.
        endpoint_url: how this machine reaches the server, where the policy's name is the hosts' own.
        ca_file: the private authority's certificate on this machine.

    Raises:
        ConfigError: the repository has no copy.
    """
    if replica:
        copy = repository.as_replica()
        if copy is None:
            raise ConfigError(
                f"repository {repository.id} has no replica", remedy="write repositories.N.replica into the policy"
            )
        repository = copy
    port = f":{repository.port}" if repository.port else ""
    authority = ca_file or (Path(repository.ca_file) if repository.ca_file else None)
    return Place(
        bucket=repository.bucket,
        region=repository.region,
        endpoint_url=endpoint_url or f"https://{repository.effective_endpoint}{port}",
        path_style=repository.uri_style == "path",
        ca_file=authority if authority is not None and authority.is_file() else None,
        kms_key_id=repository.kms_key_id or "",
    )


class KitStore:
    """The kits of one cluster.

    Args:
        place: the bucket.
        stanza: the cluster.

    Raises:
        ConfigError: boto3 is not installed here.
    """

    def __init__(self, place: Place, stanza: str) -> None:
        try:
            import boto3  # noqa: PLC0415 - loaded only where a bucket is asked
            from botocore.config import Config  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "boto3 is not installed here", remedy="kits are handled on the control node, after make setup"
            ) from error
        self.place = place
        self.key = f"kit/{stanza}/kit.tar"
        self._client: Any = boto3.client(
            "s3",
            region_name=place.region,
            endpoint_url=place.endpoint_url,
            verify=str(place.ca_file) if place.ca_file else None,
            config=Config(
                connect_timeout=_TIMEOUT_SECONDS,
                read_timeout=_TIMEOUT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": "path" if place.path_style else "auto"},
            ),
        )

    def digest(self) -> str:
        """The digest of the newest kit; empty where there is none."""
        try:
            found = self._client.head_object(Bucket=self.place.bucket, Key=self.key)
        except Exception as error:
            if _code(error) in _MISSING:
                return ""
            raise self._explain(error, "look for the kit") from error
        return str(found["Metadata"].get(_DIGEST, ""))

    def put(self, archive: Path, digest: str) -> str:
        """Store a kit and return its version."""
        more = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.place.kms_key_id} if self.place.kms_key_id else {}
        )
        try:
            with archive.open("rb") as source:
                done = self._client.put_object(
                    Bucket=self.place.bucket, Key=self.key, Body=source, Metadata={_DIGEST: digest}, **more
                )
        except Exception as error:
            raise self._explain(error, "store the kit") from error
        return str(done.get("VersionId", ""))

    def versions(self) -> list[Version]:
        """Every kit that the bucket holds, newest first."""
        try:
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self.place.bucket, Prefix=self.key
            )
            found = [one for page in pages for one in page.get("Versions", [])]
        except Exception as error:
            raise self._explain(error, "list the kits") from error
        kits = [
            Version(one["VersionId"], one["LastModified"], one["Size"], bool(one["IsLatest"]))
            for one in found
            if one["Key"] == self.key
        ]
        return sorted(kits, key=lambda kit: kit.stored_at, reverse=True)

    def fetch(self, archive: Path, version_id: str = "") -> None:
        """Download a kit.

        A kit that somebody hid with a delete marker is found all the same: its newest version is taken.

        Raises:
            RefusedError: the bucket holds none, or not this version.
        """
        kits = self.versions()
        wanted = version_id or (kits[0].version_id if kits else "")
        if not wanted or wanted not in {kit.version_id for kit in kits}:
            what = f"version {version_id} of the kit" if version_id else "kit"
            raise RefusedError(
                f"{self.place.bucket} holds no {what} ({self.key})",
                remedy="see pgdr kit list; playbooks/kit.yml makes it",
            )
        try:
            self._client.download_file(self.place.bucket, self.key, str(archive), ExtraArgs={"VersionId": wanted})
        except Exception as error:
            raise self._explain(error, "fetch the kit") from error

    def _explain(self, error: Exception, action: str) -> PgdrError:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        where = f"bucket {self.place.bucket} at {self.place.endpoint_url}"
        text = " ".join(str(error).split())
        if isinstance(error, ClientError):
            return OperationFailedError(
                f"cannot {action}: {where}: {text}",
                remedy="check the credentials (AWS_PROFILE) and the policy's bucket",
            )
        if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}:
            return ConfigError(f"cannot {action}: {text}", remedy="give boto3 credentials, for example AWS_PROFILE")
        if isinstance(error, BotoCoreError | OSError):
            return UnreachableError(f"cannot {action}: {where}: {text}", remedy="run again when it answers")
        raise error


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
