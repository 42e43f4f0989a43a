"""A KMS key of our own: rotated each year, destroyed 30 days after somebody asked."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_aws.kms import Alias, Key

from pgdr_infra.documents.statement import Document, dumps

DELETION_WINDOW_DAYS = 30


@dataclass(frozen=True)
class EncryptionKeyArgs:
    """What a key is for.

    Attributes:
        description: for people.
        alias: its name, without ``alias/``.
        policy: who administers and uses it.
        tags: its tags.
        disposable: whether Pulumi may destroy it; only for what is the only copy of nothing.
    """

    description: str
    alias: str
    policy: Document
    tags: dict[str, str]
    disposable: bool = False


class EncryptionKey(pulumi.ComponentResource):
    """A customer-managed key of one region; protected where backups depend on it: without it they are noise.

    Attributes:
        arn: the key's ARN.
    """

    arn: pulumi.Output[str]

    def __init__(self, name: str, args: EncryptionKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:storage:EncryptionKey", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = Key(
            f"{name}-key",
            description=args.description,
            enable_key_rotation=True,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            # Keys of several regions would make the copy depend on the original.
            multi_region=False,
            policy=dumps(args.policy),
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=not args.disposable)),
        )
        Alias(f"{name}-alias", name=f"alias/{args.alias}", target_key_id=key.key_id, opts=child)
        self.arn = key.arn
        self.register_outputs({"arn": key.arn})
