"""What all parts of the policy share: a strict base model and the allow-lists for names and paths."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from pgdr.policy.text import Words, shown


class Section(BaseModel):
    """A part of the policy: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def described(description: str, example: Any, **settings: Any) -> Any:
    """Return a pydantic field that explains itself, in an editor as in ``pgdr policy schema``."""
    return Field(description=description, examples=[example], **settings)


def _no_reserved_schema(name: str) -> None:
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError(f"{name!r} belongs to PostgreSQL itself")


def _plain_path(path: str) -> None:
    if ".." in path.split("/") or "//" in path or path.endswith("/"):
        raise ValueError(f"{shown(path)} is not allowed: no '..', no double slash, no slash at the end")


def _no_placeholder(key: str) -> None:
    # Account numbers that documentation uses for "your account".
    if re.search(r"\b(0{12}|1{12}|123456789012|111122223333)\b", key) or "x" * 8 in key.lower():
        raise ValueError(f"{shown(key)} is a placeholder: write the key's own ARN, or leave the key out")


# YAML's 1 and true are different things; "17" is not 17.
Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]

ClusterName = Annotated[
    str, Words(r"^[a-z][a-z0-9-]{1,62}$", "2-63 lower-case letters, digits and dashes, a letter first")
]
StanzaName = Annotated[
    str, Words(r"^[a-z][a-z0-9_-]{0,62}$", "lower-case letters, digits, dashes and underscores, a letter first")
]
DatabaseName = Annotated[
    str, Words(r"^[a-z_][a-z0-9_]{0,62}$", "lower-case letters, digits and underscores, no digit first")
]
DebianClusterName = Annotated[
    str, Words(r"^[a-z0-9][a-z0-9_.]{0,62}$", "lower-case letters, digits, dots and underscores")
]
# Tables, schemas and columns of the ERP may have any name that PostgreSQL takes; quoting is the reader's duty.
# A line break or a NUL has no honest use and breaks reports, so it stops here.
Identifier = Annotated[
    str,
    Words(r"^[^\u0000-\u001f\u007f\u2028\u2029]+$", "a name without control characters", max_bytes=63),
]
SchemaName = Annotated[
    str,
    Words(
        r"^[^\u0000-\u001f\u007f\u2028\u2029]+$",
        "a name without control characters",
        also=_no_reserved_schema,
        max_bytes=63,
    ),
]
AbsolutePath = Annotated[
    str,
    Words(
        r"^/[A-Za-z0-9._/-]+$",
        "an absolute path of letters, digits, dots, dashes and underscores",
        also=_plain_path,
    ),
]
DevicePath = Annotated[str, Words(r"^/dev/[A-Za-z0-9._:+/-]+$", "a block device below /dev", also=_plain_path)]
# No dots: a certificate for *.s3.REGION does not cover a bucket with a dot in its name.
BucketName = Annotated[
    str,
    Words(r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", "3-63 lower-case letters, digits and dashes"),
]
Region = Annotated[str, Words(r"^[a-z0-9][a-z0-9-]{0,62}$", "lower-case letters, digits and dashes")]
HostName = Annotated[
    str,
    Words(
        r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        "a host name alone, in lower case: no https://, no port (there is a key for it), no path",
    ),
]
KmsKeyId = Annotated[
    str,
    Words(r"^[A-Za-z0-9][A-Za-z0-9:/_-]{0,2047}$", "a KMS key's ARN, id or alias", also=_no_placeholder),
]
RoleArn = Annotated[
    str,
    # Servers other than AWS leave the account out.
    Words(r"^arn:aws[a-z-]*:iam::([0-9]{12})?:role/[A-Za-z0-9+=,.@_/-]{1,512}$", "the ARN of a role"),
]
InstanceType = Annotated[str, Words(r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$", "an EC2 instance type, such as r6i.xlarge")]
NetworkRange = Annotated[str, Words(r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$", "a network, such as 10.60.0.0/16")]
SecretName = Annotated[
    str,
    Words(r"^[a-z][a-z0-9_]{0,62}$", "the name of the secret (lower-case letters, digits, underscores)"),
]
Label = Annotated[str, Words(r"^[a-z][a-z0-9_-]{0,62}$", "lower-case letters, digits, dashes and underscores")]
HttpUrl = Annotated[
    str,
    Words(r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\s@]*)?$", "an http(s) URL without a user or password"),
]
# Consumers run these in a read-only transaction; this only keeps an obvious mistake out.
SmokeSql = Annotated[
    str,
    Words(r"^(SELECT|select|WITH|with|TABLE|table)\s[^;\u0000]+$", "one query (SELECT, WITH, TABLE), no semicolon"),
]
