"""An identity: a role with the least that its work needs, for instances or for people."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_aws import iam

from pgdr_infra.documents.statement import Document, dumps

SESSION_SECONDS = 3600


@dataclass(frozen=True)
class IdentityArgs:
    """Who it is and what it may do.

    Attributes:
        role: name of the role.
        description: for people.
        trust: who takes it on.
        policy: what it may do.
        instances: whether EC2 instances carry it.
        tags: its tags.
    """

    role: str
    description: str
    trust: pulumi.Input[Document]
    policy: pulumi.Input[Document]
    instances: bool
    tags: dict[str, str]


class Identity(pulumi.ComponentResource):
    """A role with one inline policy, which nobody can attach to something else.

    Attributes:
        arn: the role's ARN.
        instance_profile: name of its instance profile, or ``None``.
    """

    arn: pulumi.Output[str]
    instance_profile: pulumi.Output[str] | None = None

    def __init__(self, name: str, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:access:Identity", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            f"{name}-role",
            name=args.role,
            description=args.description,
            assume_role_policy=pulumi.Output.from_input(args.trust).apply(dumps),
            max_session_duration=SESSION_SECONDS,
            tags=args.tags,
            opts=child,
        )
        iam.RolePolicy(
            f"{name}-policy",
            name=args.role,
            role=role.name,
            policy=pulumi.Output.from_input(args.policy).apply(dumps),
            opts=child,
        )
        if args.instances:
            profile = iam.InstanceProfile(f"{name}-profile", name=args.role, role=role.name, tags=args.tags, opts=child)
            self.instance_profile = profile.name
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})
