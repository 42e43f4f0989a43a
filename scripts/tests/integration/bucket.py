"""The bucket of production's policy."""

from __future__ import annotations

from typing import Any

BUCKET = "erp-generic-backups-prod"


def make(client: Any) -> None:
    """Make it as infra/storage does, as far as versions go."""
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
