"""The form of an AWS policy document, and the few conditions that several documents share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

EVERYBODY: dict[str, str | list[str]] = {"AWS": "*"}
Condition = dict[str, dict[str, str | list[str]]]


class Statement(TypedDict):
    """One statement. Actions and resources are sorted lists, so that documents can be compared whole."""

    Sid: str
    Effect: Literal["Allow", "Deny"]
    Principal: NotRequired[dict[str, str | list[str]]]
    Action: list[str]
    Resource: NotRequired[str | list[str]]
    Condition: NotRequired[Condition]


class Document(TypedDict):
    """A policy document."""

    Version: Literal["2012-10-17"]
    Statement: list[Statement]


def deny(sid: str, actions: Sequence[str], resource: str | list[str], when: Condition | None = None) -> Statement:
    """Return a statement that denies something to everybody, or to everybody whom a condition holds for."""
    made = Statement(Sid=sid, Effect="Deny", Principal=EVERYBODY, Action=list(actions), Resource=resource)
    if when is not None:
        made["Condition"] = when
    return made


def document(*statements: Statement) -> Document:
    """Return the document of some statements."""
    return Document(Version="2012-10-17", Statement=list(statements))


def dumps(policy: Document) -> str:
    """Write a document as AWS takes it."""
    return json.dumps(policy)


def root_arn(account: str) -> str:
    """Return the ARN that stands for everybody in an account whom its own policies allow."""
    return f"arn:aws:iam::{account}:root"


def role_arn(account: str, name: str) -> str:
    """Return the ARN of a role by its name."""
    return f"arn:aws:iam::{account}:role/{name}"


def bucket_arn(bucket: str) -> str:
    """Return the ARN of a bucket."""
    return f"arn:aws:s3:::{bucket}"


def bucket_and_objects(bucket: str) -> list[str]:
    """Return the ARNs of a bucket and of all that is in it."""
    return [bucket_arn(bucket), f"{bucket_arn(bucket)}/*"]


def unless(principals: Sequence[str]) -> Condition:
    """Return the condition that everybody meets but these roles.

    The condition names an ARN and not a principal, because a bucket's policy is written before the role exists. For a
    session of a role ``aws:PrincipalArn`` is the ARN of the role.
    """
    return {"ArnNotEquals": {"aws:PrincipalArn": list(principals)}}
