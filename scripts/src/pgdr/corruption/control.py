"""What holds a cluster together: its control file, and whether its server runs."""

from __future__ import annotations

from dataclasses import dataclass

from pgdr.corruption.model import Damage, Kind
from pgdr.errors import OperationFailedError, PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import one
from pgdr.recovery.controldata import ControlData, read_control_data
from pgdr.recovery.ground import server_process

CONTROL_FILE = "global/pg_control"
_LOOKS = 3
_CHECKSUMS = "select current_setting('data_checksums') = 'on', pg_is_in_recovery()"
_STANDBYS = """
select format('%s (%s, %s behind %s bytes)', coalesce(nullif(application_name, ''), 'standby'),
              coalesce(host(client_addr), 'local'), state,
              coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint)
from pg_catalog.pg_stat_replication order by 1
"""


@dataclass(frozen=True)
class Condition:
    """The state that the cluster is in.

    Attributes:
        running: a server answers.
        process: a server's process is there, even if it does not answer.
        in_recovery: it is a standby.
        control: the control file's content, ``None`` where it cannot be trusted.
        fault: what is wrong with the control file.
        checksums: whether pages carry checksums; taken for granted where nobody knows.
        standbys: what streams from here.
        line: all of it for a person.
    """

    running: bool
    process: bool
    in_recovery: bool
    control: ControlData | None
    fault: str
    checksums: bool
    standbys: tuple[str, ...]
    line: str

    @property
    def damages(self) -> list[Damage]:
        """What is wrong with the control file, as a damage."""
        if not self.fault:
            return []
        return [Damage(Kind.CONTROL_FILE, CONTROL_FILE, self.fault, file=CONTROL_FILE, readable=self.running)]


def look(config: HostConfig) -> Condition:
    """Look at server and control file without changing anything."""
    control, fault = _control(config)
    process = server_process(config.data_directory) is not None
    running, recovering, checksums, standbys, said = False, False, control is None or control.checksums, (), ""
    try:
        with connected(config, "postgres", application_name="pgdr corruption") as connection:
            running = True
            checksums, recovering = one(connection, _CHECKSUMS)
            if not recovering:
                standbys = tuple(row[0] for row in connection.execute(_STANDBYS).fetchall())
    except PgdrError as error:
        said = error.message
    if running:
        line = "running, in recovery" if recovering else "running"
    elif process:
        line = f"its process is there and does not answer: {said}"
    else:
        line = f"down; its control file says: {control.state if control else 'unreadable'}"
    return Condition(running, process, recovering, control, fault, checksums, standbys, line)


def _control(config: HostConfig) -> tuple[ControlData | None, str]:
    fault = ""
    for _ in range(_LOOKS):  # a checkpoint writes it at this very moment
        try:
            return read_control_data(config.bin_directory, config.data_directory), ""
        except OperationFailedError as error:
            fault = " ".join(error.message.split())
    return None, fault
