"""Who may take on which role."""

from __future__ import annotations

from collections.abc import Sequence

from pgdr_infra.documents.statement import Document, Statement, document, root_arn


def instance_trust() -> Document:
    """Return the trust of a role that EC2 instances carry."""
    return document(
        Statement(
            Sid="AllowInstances",
            Effect="Allow",
            Principal={"Service": "ec2.amazonaws.com"},
            Action=["sts:AssumeRole"],
        )
    )


def side_reader_trust(hosts: Sequence[str]) -> Document:
    """Return the trust of the role that a host takes on for its side instances.

    Args:
        hosts: ARNs of the roles that hosts carry.
    """
    return document(
        Statement(Sid="AllowHosts", Effect="Allow", Principal={"AWS": sorted(hosts)}, Action=["sts:AssumeRole"])
    )


def person_trust(account: str, principals: Sequence[str]) -> Document:
    """Return the trust of a role that a person takes on, with a second factor not older than an hour.

    Args:
        account: the account.
        principals: ARNs of who may; nobody named: whom the account's own policies allow.
    """
    return document(
        Statement(
            Sid="AllowPeopleWithMfa",
            Effect="Allow",
            Principal={"AWS": sorted(principals) or root_arn(account)},
            Action=["sts:AssumeRole"],
            Condition={
                "Bool": {"aws:MultiFactorAuthPresent": "true"},
                "NumericLessThan": {"aws:MultiFactorAuthAge": "3600"},
            },
        )
    )
