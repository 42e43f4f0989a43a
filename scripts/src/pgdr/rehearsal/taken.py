"""A rehearsal of another host, written down on the host that it was for: its status and its report live from that."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgdr.archive.cloud import Cloud
from pgdr.archive.local import LocalStore
from pgdr.archive.run import archives_of
from pgdr.errors import ConfigError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.policy.model import Policy
from pgdr.proof.marks import Proven, record_archive_proven, record_not_proven, record_proven
from pgdr.proof.speeds import FILES, REPLAY
from pgdr.rehearsal.model import Outcome, Part, PartReport, Rehearsal
from pgdr.rehearsal.run import keep

# What ``pgdr rehearse --output json`` adds to the model.
_ADDED = ("result", "exit_code")


def read(text: str, source: str) -> Rehearsal:
    """Read what ``pgdr rehearse --output json`` has written.

    Raises:
        ConfigError: it is something else.
    """
    try:
        document: Any = json.loads(text)
        return Rehearsal.model_validate({key: value for key, value in document.items() if key not in _ADDED})
    except (ValueError, AttributeError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ConfigError(
            f"{source} is not the result of a rehearsal: {first}", remedy="playbooks/rehearse.yml writes it"
        ) from error


def take(config: HostConfig, policy: Policy, state: Rehearsal, host: str) -> None:
    """Mark what was proven elsewhere, keep its findings, and write all of it into the journal.

    Args:
        config: the host that it was for.
        policy: says where its archives are.
        state: what was found.
        host: where it was rehearsed.

    Raises:
        RefusedError: it is about sets or an archive that are not this host's; nothing was changed.
        PgdrError: the repositories could not be asked.
    """
    client = PgBackRest(config)
    physical = [part for part in state.parts if part.part is not Part.ARCHIVE and part.label]
    for part in physical:
        held = {item.label for item in client.info(part.repository).readable().backups(part.repository or 0)}
        if part.label not in held:
            raise RefusedError(
                f"repository {part.repository} of this host holds no set {part.label}",
                remedy="it was rehearsed for another host, or the set has been removed since; nothing was changed",
            )
    for part in state.parts:
        if part.part is Part.ARCHIVE and part.label:
            _require_own_archive(config, policy, part.label)
    at = state.finished_at or datetime.now(UTC)
    for part in state.parts:
        _mark(config, part, at)
    keep(config, state, host=host)


def _require_own_archive(config: HostConfig, policy: Policy, label: str) -> None:
    """Refuse an archive that is neither on this host's volume nor in its bucket."""
    archives = archives_of(policy)
    try:
        LocalStore(Path(archives.local.path)).find(label)
    except (RefusedError, ConfigError):
        if archives.cloud is None:
            raise
        Cloud(config, policy).find(label)  # the bucket keeps longer


def _mark(config: HostConfig, part: PartReport, at: datetime) -> None:
    if part.outcome is Outcome.OK and part.part is Part.ARCHIVE:
        record_archive_proven(config, part.label, at, part.seconds.get("restore", 0.0), part.bytes)
    elif part.outcome is Outcome.OK:
        record_proven(
            config,
            Proven(
                repository=part.repository or 0,
                label=part.label,
                at=at,
                restore_seconds=part.seconds.get(FILES, 0.0),
                restored_bytes=part.bytes,
                replay_seconds=part.seconds.get(REPLAY, 0.0),
                replayed_bytes=0,
                by="rehearsal",
                point=part.target,
            ),
        )
    elif part.outcome is Outcome.NOT_PROVEN and part.part is not Part.ARCHIVE and part.label:
        record_not_proven(config, part.repository or 0, part.label, part.message)
