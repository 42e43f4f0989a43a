"""boto3 clients for the S3 server of a lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.paths import LabPaths

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from lab.state import S3State


def client(lab: str, s3: S3State, *, admin: bool = False, port: int = 0) -> S3Client:
    """A client from the machine that runs the lab.

    Args:
        lab: the lab's name.
        s3: its server.
        admin: as the bucket's owner instead of the hosts' user.
        port: another port than the first zone's: the replica's.
    """
    secrets = LabPaths(lab).secrets
    key = "s3-admin-key" if admin else "s3-key"
    return _make(
        lab,
        s3,
        key=(secrets / key).read_text(),
        key_secret=(secrets / f"{key}-secret").read_text(),
        url=f"https://{s3.ip}:{port}" if port else s3.url,
    )


def anonymous_client(lab: str, s3: S3State) -> S3Client:
    """A client that signs nothing: anyone who finds the server."""
    from botocore import UNSIGNED  # noqa: PLC0415

    return _make(lab, s3, signature_version=UNSIGNED)


def _make(
    lab: str,
    s3: S3State,
    *,
    signature_version: Any = "s3v4",
    key: str | None = None,
    key_secret: str | None = None,
    url: str = "",
) -> S3Client:
    # Only here: importing boto3 costs half a second, which most commands need not pay.
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        signature_version=signature_version,
        s3={"addressing_style": "path"},
        retries={"max_attempts": 2, "mode": "standard"},
        connect_timeout=5,
        read_timeout=60,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=url or s3.url,
        region_name=s3.region,
        verify=str(LabPaths(lab).ca),
        config=config,
        aws_access_key_id=key,
        aws_secret_access_key=key_secret,
    )
