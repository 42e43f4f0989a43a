"""The repository's passphrase in escrow: without it the best backup cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_aws import ssm

from pgdr_infra.components.key import EncryptionKey, EncryptionKeyArgs
from pgdr_infra.documents.buckets import Guardians
from pgdr_infra.documents.keys import secret_key_policy


@dataclass(frozen=True)
class EscrowArgs:
    """The secret and its place.

    Attributes:
        parameter: name of the parameter, a path.
        passphrase: the secret; an output that Pulumi keeps encrypted in its state.
        region: region of the parameter.
        guardians: of the account.
        tags: its tags.
    """

    parameter: str
    passphrase: pulumi.Output[str]
    region: str
    guardians: Guardians
    tags: dict[str, str]


class Escrow(pulumi.ComponentResource):
    """A SecureString with a key of its own; protected.

    Attributes:
        arn: ARN of the parameter.
        key_arn: ARN of its key.
    """

    arn: pulumi.Output[str]
    key_arn: pulumi.Output[str]

    def __init__(self, name: str, args: EscrowArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:access:Escrow", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description="Encrypts the escrowed passphrase of the backup repository",
                alias=args.parameter.strip("/").replace("/", "-"),
                policy=secret_key_policy(args.guardians, args.region),
                tags=args.tags,
            ),
            child,
        )
        parameter = ssm.Parameter(
            f"{name}-passphrase",
            name=args.parameter,
            description="Passphrase of the pgBackRest repository: a recovery without the vault reads it here",
            type="SecureString",
            key_id=key.arn,
            value=args.passphrase,
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=True)),
        )
        self.arn, self.key_arn = parameter.arn, key.arn
        self.register_outputs({"arn": self.arn})
