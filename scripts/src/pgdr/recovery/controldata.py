"""Read a cluster's control file through ``pg_controldata``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgdr import process
from pgdr.errors import OperationFailedError

# pg_controldata's label of a setting -> the setting that must not be lower on the recovering server.
_MINIMUM_LABELS = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
_DAMAGED = ("crc checksum does not match", "possible byte ordering mismatch", "invalid wal segment size")


@dataclass(frozen=True)
class ControlData:
    """The part of a control file that a recovery needs.

    Attributes:
        system_identifier: identity of the cluster.
        state: such as ``in production`` or ``shut down``.
        timeline: timeline of the latest checkpoint.
        segment_size: bytes of a WAL segment.
        minimum_recovery_lsn: position replay had made durable when it last wrote the file.
        minimum_settings: settings of the primary below which hot standby does not start.
        checksums: whether pages carry checksums.
        redo_lsn: where a crash recovery begins.
        checkpoint_lsn: position of the last checkpoint's own record.
        segment_pages: pages of a full file of a large relation.
    """

    system_identifier: int
    state: str
    timeline: int
    segment_size: int
    minimum_recovery_lsn: str
    minimum_settings: dict[str, str]
    checksums: bool = False
    redo_lsn: str = "0/0"
    checkpoint_lsn: str = "0/0"
    segment_pages: int = 131072


def read_control_data(bin_directory: Path, data_directory: Path) -> ControlData:
    """Run ``pg_controldata`` on a data directory.

    Raises:
        OperationFailedError: there is no control file, or what is in it cannot be trusted.
    """
    argv = [str(bin_directory / "pg_controldata"), "-D", str(data_directory)]
    done = process.run(argv, allowed=lambda _: True, env={"LC_ALL": "C"})
    if done.returncode != 0:
        raise OperationFailedError(f"control file of {data_directory} cannot be read: {done.tail}")
    # It warns, shows what it read all the same, and ends well.
    said = f"{done.stdout}\n{done.stderr}".lower()
    if any(warning in said for warning in _DAMAGED):
        raise OperationFailedError(f"control file of {data_directory} is damaged: its own checksum does not fit it")
    fields = {
        label.strip(): value.strip() for label, _, value in (line.partition(":") for line in done.stdout.splitlines())
    }
    try:
        return ControlData(
            system_identifier=int(fields["Database system identifier"]),
            state=fields["Database cluster state"],
            timeline=int(fields["Latest checkpoint's TimeLineID"]),
            segment_size=int(fields["Bytes per WAL segment"]),
            minimum_recovery_lsn=fields["Minimum recovery ending location"],
            minimum_settings={name: fields[label] for label, name in _MINIMUM_LABELS.items()},
            checksums=int(fields["Data page checksum version"]) > 0,
            redo_lsn=fields["Latest checkpoint's REDO location"],
            checkpoint_lsn=fields["Latest checkpoint location"],
            segment_pages=int(fields["Blocks per segment of large relation"]),
        )
    except (KeyError, ValueError) as error:
        raise OperationFailedError(f"pg_controldata of {data_directory} is not understood: {error}") from error
