"""Puts the components' own policy documents in force on Ceph's gateway, and says what Ceph cannot be asked.

Ceph evaluates policies of users and of buckets, with conditions, but not all of AWS's language. A document is said in
Ceph's words where they mean the same, and every statement that cannot be said is named in ``unsaid``, so that nobody
takes it for proven:

- an action that Ceph does not know is left out, and so are the actions of other services (KMS, SSM);
- "everybody but these roles" is ``ArnNotEquals`` on ``aws:PrincipalArn`` in AWS and ``NotPrincipal`` here;
- a header that is missing makes every condition false here, so ``Null: false`` beside a comparison is no news (Ceph
  takes ``Null`` itself for "is missing", whatever its value);
- who removes several objects with one request is asked for the bucket first and for each object then, so the bucket
  is a resource of ``s3:DeleteObject`` too;
- the keys of conditions in ``_UNKNOWN_KEYS`` do not exist here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pgdr_infra.documents.statement import Document

_UNKNOWN_KEYS = {
    "aws:PrincipalAccount",
    "s3:TlsVersion",
    "s3:x-amz-server-side-encryption-customer-algorithm",
}


@dataclass
class Ceph:
    """What Ceph understands.

    Attributes:
        knows: whether an action exists there.
        unsaid: statements that could not be said, by their Sid.
        unknown: actions of S3 that were left out.
    """

    knows: Callable[[str], bool]
    unsaid: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)

    def say(self, document: Document, *, missing_is_listed: bool = False) -> str:
        """Return a document in Ceph's words.

        Args:
            document: as AWS takes it.
            missing_is_listed: who asks for an object that is not there is told so only if he may list it. AWS asks
                its policies with the object's name as ``s3:prefix``; Ceph before 21 (its pull request 68577) with
                none, and answers 403 for 404, which pgBackRest cannot work with. This lets a missing ``s3:prefix``
                pass; the price is that he may list the whole bucket.
        """
        said = [self._statement(dict(statement)) for statement in document["Statement"]]
        kept = [statement for statement in said if statement is not None]
        for statement in kept:
            condition = statement.get("Condition", {})
            if missing_is_listed and "s3:prefix" in condition.get("StringLike", {}):
                condition["StringLikeIfExists"] = condition.pop("StringLike")
        return json.dumps({"Version": document["Version"], "Statement": kept})

    def _statement(self, statement: dict[str, Any]) -> dict[str, Any] | None:
        condition = {operator: dict(keys) for operator, keys in statement.pop("Condition", {}).items()}
        actions = [action for action in statement["Action"] if action.startswith("s3:")]
        self.unknown.update(action for action in actions if not self.knows(action))
        statement["Action"] = [action for action in actions if self.knows(action)]
        if not statement["Action"] or any(_UNKNOWN_KEYS & set(keys) for keys in condition.values()):
            self.unsaid.add(statement["Sid"])
            return None
        roles = condition.pop("ArnNotEquals", {}).get("aws:PrincipalArn")
        if roles is not None:
            del statement["Principal"]
            statement["NotPrincipal"] = {"AWS": [_user(role) for role in roles]}
        condition.pop("Null", None)
        if statement["Effect"] == "Allow" and "s3:DeleteObject" in statement["Action"]:
            statement["Resource"] = [*statement["Resource"], *{r.split("/")[0] for r in statement["Resource"]}]
        return {**statement, "Condition": condition} if condition else statement


def _user(role: str) -> str:
    return f"arn:aws:iam:::user/{role.rsplit('/', 1)[-1]}"
