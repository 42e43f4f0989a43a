"""Policies of a recovery site's network."""

from __future__ import annotations

from collections.abc import Sequence

from pgdr_infra.documents.statement import EVERYBODY, Document, Statement, bucket_and_objects, document


def endpoint_policy(buckets: Sequence[str], account: str) -> Document:
    """Return what goes through the network's door to S3: this account's identities to the backup buckets.

    A program on a host that was broken into cannot carry data to a bucket of its own through it.
    """
    return document(
        Statement(
            Sid="AllowBackups",
            Effect="Allow",
            Principal=EVERYBODY,
            Action=["s3:*"],
            Resource=[arn for bucket in buckets for arn in bucket_and_objects(bucket)],
            Condition={"StringEquals": {"aws:PrincipalAccount": account}},
        )
    )
