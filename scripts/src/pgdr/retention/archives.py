"""Logical archives on the volume as a place of retention: each restores by itself.

Their copies in the bucket are removed by the bucket's own rules of age (infra/storage), which no host may change: a
hold reaches the volume only, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from pgdr.archive.local import LocalArchive, LocalStore
from pgdr.errors import NotProvenError
from pgdr.hostconfig import HostConfig
from pgdr.locks import ARCHIVES, operation_lock
from pgdr.policy.archives import Archives
from pgdr.proof.marks import Marks
from pgdr.retention.plan import Copy, Plan, Rule

#: What holds and plans call the place.
ARCHIVES_PLACE = "archives"
_WAIT = 3600.0


class ArchivesPlace:
    """The archives on the backup volume.

    Args:
        config: this host.
        archives: what the policy says of them.
        marks: which of them a rehearsal has proven.
    """

    def __init__(self, config: HostConfig, archives: Archives, marks: Marks) -> None:
        self._config = config
        self._store = LocalStore(Path(archives.local.path))
        self._rule = Rule(window=timedelta(days=archives.local.retention.days), standalone=True)
        self._marks = marks

    @property
    def name(self) -> str:
        """``archives``."""
        return ARCHIVES_PLACE

    @property
    def rule(self) -> Rule:
        """The policy's retention of archives on the volume."""
        return self._rule

    def copies(self) -> Sequence[Copy]:
        """The whole archives; one that was fetched counts from then on."""
        if not self._store.root.is_dir():
            return []  # nothing was archived yet; what makes archives says it when it cannot
        return [
            Copy(label=item.label, at=item.kept_since, good=self._good(item), size=_size(item))
            for item in self._store.archives()
        ]

    def _good(self, item: LocalArchive) -> bool:
        mark = self._marks.archives.get(item.label)
        if mark is not None and mark.damaged:
            return False
        return item.verified_at is not None or (mark is not None and mark.proven is not None)

    def remove(self, plan: Plan) -> Sequence[str]:
        """Remove what a plan dooms; nothing else works on archives meanwhile.

        Raises:
            BusyError: another operation works on them.
            PgdrError: something could not be removed.
        """
        doomed = {copy.label for copy in plan.doomed}
        if not doomed:
            return []
        with operation_lock(self._config, "expiry of archives", scope=ARCHIVES, wait=_WAIT):
            for item in self._store.archives():
                if item.label in doomed:
                    self._store.remove(item.folder)
            left = {item.label for item in self._store.archives()}
        lost = sorted({copy.label for copy in plan.kept} - left)
        if lost:
            raise NotProvenError(
                f"archives {', '.join(lost)} are gone, which were to be kept", remedy="pgdr archives fetch LABEL"
            )
        return sorted(doomed - left)


def _size(item: LocalArchive) -> int:
    try:
        return item.manifest().size
    except NotProvenError:
        return 0
