"""Archives in the cloud: copied there after each run, promoted from slot to slot, and brought back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgdr.archive.bucket import Bucket, StoredObject
from pgdr.archive.inuse import in_use
from pgdr.archive.local import FETCHED, LocalArchive, LocalStore
from pgdr.archive.model import Manifest, parse_manifest, require_plain, sha256_of
from pgdr.archive.names import MANIFEST, is_label, moment_of
from pgdr.archive.run import archives_of
from pgdr.archive.verify import check_files
from pgdr.errors import ConfigError, NotProvenError, RefusedError, UnreachableError
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.s3 import client_of

_TRANSFERS = 8
# Hours until AWS has thawed an object, at the latest, by class and tier (S3 User Guide, "Understanding archive
# retrieval options").
_HOURS = {
    ("GLACIER", "Expedited"): 0.1,
    ("GLACIER", "Standard"): 5,
    ("GLACIER", "Bulk"): 12,
    ("DEEP_ARCHIVE", "Standard"): 12,
    ("DEEP_ARCHIVE", "Bulk"): 48,
}
# What a slot holds one archive for; the first of the period is promoted.
_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
    "annual": lambda moment: (moment.year,),
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CloudArchive:
    """An archive in a slot of the bucket.

    Attributes:
        slot: daily, weekly, monthly or annual.
        label: its label.
        objects: its objects, the manifest among them.
    """

    slot: str
    label: str
    objects: tuple[StoredObject, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(item.size for item in self.objects)

    @property
    def storage_class(self) -> str:
        """The coldest class of its objects, as far as they differ."""
        return "+".join(sorted({item.storage_class for item in self.objects}))


@dataclass(frozen=True)
class Uploaded:
    """What became of a copy to the cloud."""

    label: str
    files: int
    sent_files: int
    size: int
    promoted: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Thaw:
    """How objects in a cold class are made readable.

    Attributes:
        days: how long they stay readable.
        tier: how fast: Expedited, Standard or Bulk.
        wait: wait for them; without it the thaw is only begun.
        poll: seconds between two looks.
    """

    days: int = 7
    tier: str = "Standard"
    wait: bool = False
    poll: float = 60.0


class Cloud:
    """The archives of this cluster in its bucket.

    Raises:
        ConfigError: the policy names no bucket for archives.
    """

    def __init__(self, config: HostConfig, policy: Policy) -> None:
        cloud = archives_of(policy).cloud
        if cloud is None:
            raise ConfigError("the policy has no archives.cloud", remedy="add it, then run site.yml")
        repository = next((r for r in policy.s3_repositories if r.id == cloud.repository), None)
        if repository is None:
            raise ConfigError(f"archives.cloud.repository: there is no S3 repository {cloud.repository}")
        repository = in_use(config, repository)
        self._slots = cloud.slots
        self._config = config
        self._repository = repository
        self._offsite = archives_of(policy).offsite
        self._stanza = config.stanza
        self.bucket = Bucket(
            client_of(config, repository),
            repository.bucket,
            kms_key_id=repository.kms_key_id,
            tags={"pgdr:type": "archive", "pgdr:cluster": config.cluster_name, "pgdr:stanza": config.stanza},
        )

    def prefix(self, slot: str, label: str = "") -> str:
        """Where the archives of a slot are, or one of them."""
        return f"archive/{slot}/{self._stanza}/" + (f"{label}/" if label else "")

    def labels(self, slot: str) -> list[str]:
        """Labels of the whole archives in a slot, the oldest first."""
        names = sorted(name for name in self.bucket.folders(self.prefix(slot)) if is_label(name))
        return [name for name in names if self.bucket.head(self.prefix(slot, name) + MANIFEST) is not None]

    def archives(self) -> list[CloudArchive]:
        """All whole archives, slot by slot."""
        found = []
        for slot in self._slots:
            for label in self.labels(slot):
                objects = tuple(self.bucket.keys(self.prefix(slot, label)))
                found.append(CloudArchive(slot, label, objects))
        return found

    def upload(self, archive: LocalArchive, on_progress: Progress | None = None) -> Uploaded:
        """Copy an archive to the daily slot and promote it where its week, month or year has none.

        What is there already is not sent again, so a copy that was broken off goes on where it was.

        Args:
            archive: a whole archive.
            on_progress: told bytes that are safe and bytes in all, from any thread.

        Raises:
            NotProvenError: the archive was damaged on its way or before it.
            UnreachableError: the bucket does not answer.
        """
        began = time.monotonic()
        manifest = archive.manifest()
        prefix = self.prefix("daily", archive.label)
        meter = _Meter(manifest.size, on_progress)
        files = sorted(manifest.stored.items(), key=lambda entry: entry[1].size, reverse=True)

        def send(name: str, digest: str) -> bool:
            # The checksum is the manifest's: a file that rotted on the volume is refused by the server.
            return self.bucket.put(prefix + name, archive.folder / name, digest, meter.add)

        with ThreadPoolExecutor(_TRANSFERS) as pool:
            sent = list(pool.map(lambda item: send(item[0], item[1].sha256), files))
        path = archive.folder / MANIFEST
        self.bucket.put(prefix + MANIFEST, path, sha256_of(path), lambda _bytes: None)
        promoted = self.promote(archive.label)
        seconds = time.monotonic() - began
        return Uploaded(archive.label, len(files), sum(sent), manifest.size, tuple(promoted), seconds)

    def promote(self, label: str) -> list[str]:
        """Copy a daily archive, on the server, to each longer slot that has none of its week, month or year.

        Returns:
            The slots.
        """
        promoted = []
        for slot in self._slots:
            period = _PERIODS.get(slot)
            if period is None or any(
                period(moment_of(other)) == period(moment_of(label)) for other in self.labels(slot)
            ):
                continue
            self._copy(self.bucket, self.prefix("daily", label), self.prefix(slot, label))
            promoted.append(slot)
        return promoted

    def _copy(self, target: Bucket, source_prefix: str, target_prefix: str) -> None:
        items = list(self.bucket.keys(source_prefix))
        manifest = [item for item in items if item.key == source_prefix + MANIFEST]
        others = [item for item in items if item.key != source_prefix + MANIFEST]

        def copy(item: StoredObject) -> None:
            target.copy_from(self.bucket.name, item, target_prefix + item.key.removeprefix(source_prefix))

        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(pool.map(copy, others))
        for item in manifest:
            copy(item)

    def copy_offsite(self) -> tuple[str, list[str]]:
        """Copy the monthly archives to the tertiary bucket that are not there, the newest first, on the server.

        Returns:
            The bucket, and the labels of what was copied now.

        Raises:
            ConfigError: the policy names no tertiary bucket.
            RefusedError: there is no monthly archive.
        """
        if self._offsite is None or self._offsite.bucket is None:
            raise ConfigError("the policy has no archives.offsite.bucket", remedy="add it; infra/storage makes it")
        labels = self.labels("monthly") if "monthly" in self._slots else []
        if not labels:
            raise RefusedError("there is no monthly archive to copy", remedy="see pgdr archives list --cloud")
        region = self._offsite.region or self._repository.region
        # Its own default encryption: the key of the first account must not be needed to read it.
        target = Bucket(client_of(self._config, self._repository, region=region), self._offsite.bucket)
        there = {name for name in target.folders(self.prefix("monthly")) if self._whole(target, name)}
        copied = []
        for label in reversed(labels):
            if label in there:
                continue
            manifest = self.bucket.head(self.prefix("monthly", label) + MANIFEST)
            if manifest is not None and not manifest.readable and label != labels[-1]:
                continue  # froze before there was a tertiary bucket; only the newest must be there
            self._copy(target, self.prefix("monthly", label), self.prefix("monthly", label))
            copied.append(label)
        return target.name, copied

    def _whole(self, target: Bucket, label: str) -> bool:
        return target.head(self.prefix("monthly", label) + MANIFEST) is not None

    def find(self, label: str, slot: str = "") -> CloudArchive:
        """Find an archive, in the warmest slot that has it.

        Raises:
            RefusedError: no slot has it.
        """
        found = self._found(label, [slot] if slot else self._slots)
        if found is not None:
            return found
        where = f"slot {slot}" if slot else f"any slot ({', '.join(self._slots)})"
        raise RefusedError(f"no archive {label} in {where} of the bucket", remedy="see pgdr archives list --cloud")

    def newest(self) -> CloudArchive:
        """The youngest whole archive; only listed, so that whoever may read and no more finds it too.

        Raises:
            RefusedError: there is none.
        """
        names = {name for slot in self._slots for name in self.bucket.folders(self.prefix(slot)) if is_label(name)}
        for label in sorted(names, reverse=True):
            found = self._found(label, self._slots)  # none, where an upload was broken off or goes on
            if found is not None:
                return found
        raise RefusedError(f"no archive in s3://{self.bucket.name}/archive/", remedy="see pgdr archives list --cloud")

    def _found(self, label: str, slots: Iterable[str]) -> CloudArchive | None:
        for name in slots:
            prefix = self.prefix(name, label)
            objects = tuple(self.bucket.keys(prefix))
            if any(item.key == prefix + MANIFEST for item in objects):
                return CloudArchive(name, label, objects)
        return None

    def cold(self, archive: CloudArchive) -> list[StoredObject]:
        """The objects of an archive that cannot be read now."""
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            states = list(pool.map(lambda item: self.bucket.head(item.key), archive.objects))
        return [state for state in states if state is not None and not state.readable]

    def address(self, archive: CloudArchive) -> str:
        """Where it is, for people."""
        return f"s3://{self.bucket.name}/{self.prefix(archive.slot, archive.label)}"

    def thaw(self, archive: CloudArchive, how: Thaw) -> datetime | None:
        """Have the objects of an archive made readable that are in a cold class.

        Args:
            archive: the archive.
            how: for how long and how fast.

        Returns:
            When it is ready at the latest, or ``None`` if it is readable now.
        """
        hours = 0.0
        cold = self.cold(archive)
        for state in cold:
            if not state.thawing:
                self.bucket.thaw(state.key, how.days, how.tier)
            hours = max(hours, _HOURS.get((state.storage_class, how.tier), math.inf))
        if not cold:
            return None
        if math.isinf(hours):
            raise RefusedError(
                f"the tier {how.tier} does not exist for {archive.storage_class}", remedy="use --tier Standard or Bulk"
            )
        return datetime.fromtimestamp(time.time() + hours * 3600, UTC)

    def manifest(self, archive: CloudArchive) -> tuple[bytes, Manifest]:
        """What an archive says about itself, as it stands there and as it is understood.

        Raises:
            NotProvenError: it is damaged, or that of another archive.
        """
        text = self.bucket.read(self.prefix(archive.slot, archive.label) + MANIFEST)
        manifest = parse_manifest(text, f"{self.address(archive)}{MANIFEST}")
        require_plain(manifest.files)
        if manifest.label != archive.label:
            raise NotProvenError(f"the manifest of archive {archive.label} is that of {manifest.label}")
        return text, manifest

    def fetch(
        self,
        archive: CloudArchive,
        store: LocalStore,
        thaw: Thaw,
        *,
        on_wait: Callable[[datetime], None] | None = None,
        on_progress: Progress | None = None,
    ) -> LocalArchive:
        """Bring an archive back to the backup volume; what arrived before a break is not fetched again.

        Args:
            archive: the archive.
            store: the volume.
            thaw: how objects in a cold class are made readable.
            on_wait: told when they will be ready.
            on_progress: told bytes received and bytes in all, from any thread.

        Raises:
            UnreachableError: the thaw has begun; run again when it is done.
            NotProvenError: something arrived with another checksum than it was written with.
        """
        while (ready := self.thaw(archive, thaw)) is not None:
            if not thaw.wait:
                raise UnreachableError(
                    f"archive {archive.label} is being thawed, ready at {ready:%Y-%m-%d %H:%M} UTC at the latest",
                    remedy="run the same command then, or with --wait now",
                )
            if on_wait is not None:
                on_wait(ready)
            time.sleep(thaw.poll)
        prefix = self.prefix(archive.slot, archive.label)
        text, manifest = self.manifest(archive)
        folder = store.begin(archive.label, "fetching")
        meter = _Meter(manifest.size, on_progress)
        for parent in {(folder / name).parent for name in manifest.files}:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(
                pool.map(
                    lambda item: self.bucket.fetch(prefix + item[0], folder / item[0], item[1].sha256, meter.add),
                    manifest.stored.items(),
                )
            )
        _link_twins(folder, manifest)
        check_files(folder, manifest, workers=_TRANSFERS)
        write_atomically(folder / MANIFEST, text.decode(), 0o600)
        write_atomically(folder / FETCHED, datetime.now(UTC).isoformat() + "\n", 0o600)
        return store.finish(folder, archive.label)


def _link_twins(folder: Path, manifest: Manifest) -> None:
    """Give each content the other names that it has in its archive."""
    first = {entry.sha256: name for name, entry in manifest.stored.items()}
    for name, entry in manifest.files.items():
        if first[entry.sha256] != name:
            (folder / name).unlink(missing_ok=True)
            (folder / name).hardlink_to(folder / first[entry.sha256])


class _Meter:
    """Adds up bytes from several threads."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._report = report
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
        if self._report is not None:
            self._report(min(self._done, self._total), self._total)
