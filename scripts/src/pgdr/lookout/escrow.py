"""Whether a rebuild would find its keys: the recovery kit is there, in the copy too, and the passphrase opens it.

What lies in escrow is the repository's passphrase. No host can see whether the paper in the safe is legible; what it
can see is whether the kit is sealed with the passphrase that the repository has today, so that one opens both.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import tarfile
from datetime import datetime
from typing import Any, cast

from pgdr.archive.bucket import Bucket
from pgdr.archive.inuse import in_use
from pgdr.errors import NotProvenError, PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.repositories import passphrase
from pgdr.policy.cloud import bucket_layout
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.s3 import client_of, explained

CHECK = "escrow"
_DANGER = "a rebuild after the loss of site and staff's machines: its secrets are in the kit"
_MAKE = "ansible-playbook playbooks/kit.yml; then fetch it and open it with what is in escrow (playbooks/README.md)"
_SECRETS = "secrets.yml"
_ROUNDS, _DERIVED, _HEADER = 10_000, 80, b"$ANSIBLE_VAULT;1."


def check(config: HostConfig, policy: Policy, known: str) -> tuple[Check, str]:
    """Look for the kit, and try it where it is not the one that was tried before.

    Args:
        config: what this host is.
        policy: names the bucket.
        known: what was tried before: a kit and the passphrase's file; empty for nothing.

    Returns:
        The finding, and what was tried now.

    Raises:
        PgdrError: the bucket does not answer, or refuses.
    """
    repository = in_use(config, policy.s3_repositories[0])
    key = f"{bucket_layout(policy, repository).kit}kit.tar"
    bucket = Bucket(client_of(config, repository, hurried=True), repository.bucket)
    place = f"s3://{bucket.name}/{key}"
    there = _stored(bucket, key)
    if there is None:
        return _bad(Level.AMBER, f"there is no recovery kit in {place}, or somebody hid it"), ""
    tag, at = there
    secret = passphrase(config.pgbackrest_config, config.stanza, repository.id)
    tried = f"{tag} {hashlib.sha256(secret.encode()).hexdigest()[:8] if secret else ''}"
    if secret is not None and tried != known and not _opens(bucket, key, secret):
        return _bad(Level.RED, f"the recovery kit {place} does not open with the repository's passphrase"), ""
    copy = repository.as_replica()
    if copy is not None and not _in_copy(config, copy, key):
        return _bad(Level.AMBER, f"the recovery kit is in {place} only, not in its copy s3://{copy.bucket}"), tried
    how = ", and the passphrase opens it" if secret is not None else ""
    return green(CHECK, f"the recovery kit of {at:%Y-%m-%d} is in {place}{how}"), tried


def unknown(error: PgdrError) -> Check:
    """Say that nobody knows."""
    return _bad(Level.AMBER, f"nobody knows whether a rebuild would find its keys: {error.message}")


def _bad(level: Level, message: str) -> Check:
    return Check(CHECK, level, message, endangers=_DANGER, remedy=_MAKE)


def _in_copy(config: HostConfig, copy: S3Repository, key: str) -> bool:
    return _stored(Bucket(client_of(config, copy, hurried=True), copy.bucket), key) is not None


def _stored(bucket: Bucket, key: str) -> tuple[str, datetime] | None:
    found = bucket.head(key)
    if found is None:
        return None
    with explained(bucket.name, key):
        head = bucket.client.head_object(Bucket=bucket.name, Key=key)
    return head["ETag"], head["LastModified"]


def _opens(bucket: Bucket, key: str, secret: str) -> bool:
    """Whether a passphrase opens the secrets of a kit, of which no more is read than is needed.

    Raises:
        NotProvenError: it is no kit.
    """
    with explained(bucket.name, key):
        body = cast("Any", bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"])
        try:
            with tarfile.open(fileobj=body, mode="r|") as kit:
                for entry in kit:
                    file = kit.extractfile(entry) if entry.name == _SECRETS else None
                    if file is not None:
                        return opens(file.read(), secret)
        except (tarfile.TarError, ValueError) as error:
            raise NotProvenError(f"s3://{bucket.name}/{key} is no recovery kit: {error}", remedy=_MAKE) from error
        finally:
            body.close()
    raise NotProvenError(f"s3://{bucket.name}/{key} holds no {_SECRETS}", remedy=_MAKE)


def opens(sealed: bytes, secret: str) -> bool:
    """Whether a passphrase opens what ansible-vault has sealed: its own checksum under the key that the two make.

    Raises:
        ValueError: it is nothing that ansible-vault wrote.
    """
    header, _, rest = sealed.partition(b"\n")
    if not header.startswith(_HEADER):
        raise ValueError("not sealed by ansible-vault")
    parts = binascii.unhexlify(b"".join(rest.split())).split(b"\n")
    salt, checksum, content = (binascii.unhexlify(part) for part in parts)
    derived = hashlib.pbkdf2_hmac("sha256", secret.strip().encode(), salt, _ROUNDS, _DERIVED)
    return hmac.compare_digest(hmac.new(derived[32:64], content, hashlib.sha256).digest(), checksum)
