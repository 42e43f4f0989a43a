"""The bucket that archives are copied to: one object a file, each with a SHA-256 that the server has checked.

Key: ``archive/<slot>/<stanza>/<label>/<file>``. The manifest is written last, so an archive in the bucket is whole or
no archive. Big files go in parts of a fixed size: what was sent before a break is not sent again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pgdr.errors import NotProvenError
from pgdr.s3 import explained

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PART_SIZE = 64 * 1024 * 1024
# S3 copies at most this much in one request.
COPY_LIMIT = 5 * 1024**3
_DIGEST = "pgdr-sha256"
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})

Sent = Callable[[int], None]


@dataclass(frozen=True)
class StoredObject:
    """An object as the server describes it.

    Attributes:
        key: its key.
        size: bytes.
        storage_class: S3 class.
        thawing: a restore from a cold class is running.
        readable: it can be fetched now.
        digest: SHA-256 of its content in hexadecimal digits, as noted at upload.
        checksum: the same as the server has worked it out; empty where it knows only those of parts, or none.
    """

    key: str
    size: int
    storage_class: str
    thawing: bool = False
    readable: bool = True
    digest: str = ""
    checksum: str = ""


class Bucket:
    """One bucket.

    Args:
        client: boto3's client.
        name: the bucket.
        kms_key_id: key that new objects are encrypted with, or ``None`` for the bucket's default.
        tags: put on every new object.
    """

    def __init__(
        self, client: S3Client, name: str, *, kms_key_id: str | None = None, tags: dict[str, str] | None = None
    ) -> None:
        self.client = client
        self.name = name
        self._new: dict[str, Any] = {}
        if kms_key_id is not None:
            self._new = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id}
        if tags:
            self._new["Tagging"] = urlencode(tags)

    def put(self, key: str, path: Path, digest: str, sent: Sent) -> bool:
        """Store a file, unless the same content is there already.

        Args:
            key: the object's key.
            path: the file.
            digest: SHA-256 of the file in hexadecimal digits.
            sent: told bytes that are safe, from any thread.

        Returns:
            Whether anything had to be sent.

        Raises:
            UnreachableError: the server does not answer.
            PgdrError: the server refused, for example because the content that arrived has another checksum.
        """
        size = path.stat().st_size
        there = self.head(key)
        if there is not None and there.size == size and there.digest == digest:
            sent(size)
            return False
        with explained(self.name, key):
            if size <= PART_SIZE:
                content = path.read_bytes()
                _require_digest(path, hashlib.sha256(content).hexdigest(), digest)
                self._put_whole(key, content, digest)
                sent(size)
            else:
                self._put_parts(key, path, digest, sent)
        return True

    def write(self, key: str, content: bytes) -> None:
        """Store a small object, whatever is there: the version before it stays."""
        with explained(self.name, key):
            self._put_whole(key, content, hashlib.sha256(content).hexdigest())

    def _put_whole(self, key: str, content: bytes, digest: str) -> None:
        self.client.put_object(
            Bucket=self.name,
            Key=key,
            Body=content,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=_base64(bytes.fromhex(digest)),
            Metadata={_DIGEST: digest},
            **self._new,
        )

    def _put_parts(self, key: str, path: Path, digest: str, sent: Sent) -> None:
        upload, done = self._unfinished(key)
        if upload is None:
            upload = self.client.create_multipart_upload(
                Bucket=self.name, Key=key, ChecksumAlgorithm="SHA256", Metadata={_DIGEST: digest}, **self._new
            )["UploadId"]
        parts = []
        whole = hashlib.sha256()
        with path.open("rb") as file:
            for number, chunk in enumerate(iter(lambda: file.read(PART_SIZE), b""), start=1):
                whole.update(chunk)
                checksum = _base64(hashlib.sha256(chunk).digest())
                tag = done.get((number, checksum))
                if tag is None:
                    tag = self.client.upload_part(
                        Bucket=self.name,
                        Key=key,
                        UploadId=upload,
                        PartNumber=number,
                        Body=chunk,
                        ChecksumAlgorithm="SHA256",
                        ChecksumSHA256=checksum,
                    )["ETag"]
                parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
                sent(len(chunk))
        # The server has checked the parts, each by itself; only we know what the whole was.
        _require_digest(path, whole.hexdigest(), digest)
        self.client.complete_multipart_upload(
            Bucket=self.name,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
        )

    def _unfinished(self, key: str) -> tuple[str | None, dict[tuple[int, str], str]]:
        """An upload of this object that was broken off, and its parts: number and checksum to the server's tag."""
        found = self.client.list_multipart_uploads(Bucket=self.name, Prefix=key).get("Uploads", [])
        uploads = [item["UploadId"] for item in found if item.get("Key") == key]
        if not uploads:
            return None, {}
        upload = uploads[-1]
        pages = self.client.get_paginator("list_parts").paginate(Bucket=self.name, Key=key, UploadId=upload)
        parts = [part for page in pages for part in page.get("Parts", [])]
        return upload, {(part["PartNumber"], part.get("ChecksumSHA256", "")): part["ETag"] for part in parts}

    def head(self, key: str) -> StoredObject | None:
        """Ask for an object without its content; ``None`` if there is none."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - see `client_of`

        with explained(self.name, key):
            try:
                found = self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
        storage_class = found.get("StorageClass", "STANDARD")
        restore = found.get("Restore", "")
        thawed = 'ongoing-request="false"' in restore
        return StoredObject(
            key,
            found["ContentLength"],
            storage_class,
            thawing='ongoing-request="true"' in restore,
            readable=storage_class not in _COLD or thawed,
            digest=found.get("Metadata", {}).get(_DIGEST, ""),
            checksum=_whole(found.get("ChecksumSHA256", "")),
        )

    def keys(self, prefix: str) -> Iterator[StoredObject]:
        """List the objects below a prefix; what only a look at each one tells is left out."""
        with explained(self.name, prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield StoredObject(item["Key"], item["Size"], item.get("StorageClass", "STANDARD"))

    def folders(self, prefix: str, *, ever: bool = False) -> list[str]:
        """List the names between a prefix and the next slash.

        Args:
            prefix: where.
            ever: also those below which everything was hidden.
        """
        ask: Any = "list_object_versions" if ever else "list_objects_v2"
        with explained(self.name, prefix):
            pages: Any = self.client.get_paginator(ask).paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
            found = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
        return [name.removeprefix(prefix).rstrip("/") for name in found]

    def first_versions(self, prefix: str, *, after: str = "") -> dict[str, str]:
        """The version of each object below a prefix that was written first, whether it was hidden since or not.

        Args:
            prefix: where.
            after: leave out keys up to this one; the server does not list them.
        """
        first: dict[str, tuple[Any, str]] = {}
        begin: Any = {"KeyMarker": after} if after else {}
        with explained(self.name, prefix):
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix, **begin)
            for item in (item for page in pages for item in page.get("Versions", [])):
                # S3 lists the newest first, so that of one second the last one listed is the oldest.
                known = first.get(item["Key"])
                if known is None or item["LastModified"] <= known[0]:
                    first[item["Key"]] = (item["LastModified"], item["VersionId"])
        return {key: version for key, (_at, version) in first.items()}

    def read(self, key: str, version: str = "") -> bytes:
        """Read a small object, or a version of it.

        Raises:
            RefusedError: it is in a cold class and was not thawed.
        """
        which: Any = {"VersionId": version} if version else {}
        with explained(self.name, key):
            return self.client.get_object(Bucket=self.name, Key=key, **which)["Body"].read()

    def fetch(self, key: str, target: Path, digest: str, received: Sent) -> None:
        """Write an object into a file, unless the file has this content already.

        Raises:
            NotProvenError: what arrived has another checksum.
        """
        if target.exists() and _file_digest(target) == digest:
            received(target.stat().st_size)
            return
        draft = target.with_name(f".{target.name}.part")
        found = hashlib.sha256()
        with explained(self.name, key), draft.open("wb") as file:
            body = self.client.get_object(Bucket=self.name, Key=key)["Body"]
            for chunk in body.iter_chunks(1 << 20):
                found.update(chunk)
                file.write(chunk)
                received(len(chunk))
        if found.hexdigest() != digest:
            draft.unlink()
            raise NotProvenError(
                f"s3://{self.name}/{key} has another checksum than when it was written",
                remedy="fetch another archive; the bucket may hold an older version of this object",
            )
        draft.replace(target)

    def copy_from(self, source: str, item: StoredObject, target: str) -> None:
        """Copy an object on the server, from this account's bucket into this one; nothing is downloaded.

        Args:
            source: bucket of the original.
            item: the original.
            target: key of the copy.
        """
        origin: Any = {"Bucket": source, "Key": item.key}
        encryption = {key: value for key, value in self._new.items() if key != "Tagging"}
        with explained(self.name, target):
            if item.size > COPY_LIMIT:
                self.client.copy(origin, self.name, target, ExtraArgs={"ChecksumAlgorithm": "SHA256", **encryption})
            else:
                self.client.copy_object(
                    Bucket=self.name, Key=target, CopySource=origin, ChecksumAlgorithm="SHA256", **encryption
                )

    def thaw(self, key: str, days: int, tier: str) -> None:
        """Have a copy of an object in a cold class made that can be read for some days."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        with explained(self.name, key):
            try:
                self.client.restore_object(
                    Bucket=self.name,
                    Key=key,
                    RestoreRequest={"Days": days, "GlacierJobParameters": {"Tier": tier}},  # type: ignore[typeddict-item]
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "RestoreAlreadyInProgress":
                    raise


def _require_digest(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise NotProvenError(
            f"{path} has another checksum than when it was written", remedy="pgdr archives verify, then archive again"
        )


def _whole(checksum: str) -> str:
    """The server's checksum in hexadecimal digits; one of checksums of parts ends with their number."""
    return "" if "-" in checksum else base64.b64decode(checksum).hex()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
