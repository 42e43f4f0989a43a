"""Exit statuses of pgBackRest as errors with a remedy; the texts are what pgBackRest 2.55.1 wrote."""

from __future__ import annotations

import pytest

from pgdr.errors import (
    BusyError,
    ConfigError,
    ExitCode,
    OperationFailedError,
    PgdrError,
    RefusedError,
    UnreachableError,
)
from pgdr.pgbackrest.faults import FAULTS, code_of, error_for, fault_error, summary, warnings
from pgdr.process import Completed

NO_STANZA = """\
ERROR: [055]: unable to load info file '/backups/pgbackrest/backup/erp/backup.info' or '/backups/pgbackrest/backup/erp/backup.info.copy':
       FileMissingError: unable to open missing file '/backups/pgbackrest/backup/erp/backup.info' for read
       FileMissingError: unable to open missing file '/backups/pgbackrest/backup/erp/backup.info.copy' for read
       HINT: backup.info cannot be opened and is required to perform a backup.
       HINT: has a stanza-create been performed?
"""  # noqa: E501 - as it was written
LOCKED = """\
ERROR: [050]: unable to acquire lock on file '/run/pgbackrest/erp-backup-1.lock': Resource temporarily unavailable
       HINT: is another pgBackRest process running?
"""
DATABASE_DOWN = """\
WARN: unable to check pg1: [DbConnectError] unable to connect to 'dbname='postgres' port=5544': connection to server on socket "/var/run/postgresql/.s.PGSQL.5544" failed: No such file or directory
        Is the server running locally and accepting connections on that socket?
ERROR: [056]: unable to find primary cluster - cannot proceed
       HINT: are all available clusters in recovery?
"""  # noqa: E501
UNREACHABLE = """\
ERROR: [049]: unable to load info file '/x/backup/erp/backup.info' or '/x/backup/erp/backup.info.copy':
       HostConnectError: unable to connect to '127.0.0.1:9': [111] Connection refused
           [HostConnectError] on 7 retries from 101-5000ms: unable to connect to '127.0.0.1:9': [111] Connection refused
           [HostConnectError] on 2 retries from 30504-45806ms: unable to connect to '127.0.0.1:9': [111] Connection refused
       HostConnectError: unable to connect to '127.0.0.1:9': [111] Connection refused
       HINT: backup.info cannot be opened and is required to perform a backup.
"""  # noqa: E501
BAD_VALUE = """\
P00  ERROR: [032]: 'bogus' is not allowed for 'type' option
            HINT: allowed values are 'full', 'diff', 'incr'
"""
NOISE = """\
ERROR: [029]: unable to load info file '/cloud/pgbackrest/backup/erp/backup.info' or '/cloud/pgbackrest/backup/erp/backup.info.copy':
       FormatError: key/value found outside of section at line 1: VpwTK\x08\x17\ufffdJ3d[g\x11
"""  # noqa: E501
PROMOTED = "WARN: no prior backup exists, incr backup has been changed to full\n"


def _error(status: int, stderr: str) -> PgdrError:
    return error_for(Completed(("pgbackrest",), status, "", stderr), action="backup to repository 1")


@pytest.mark.parametrize(
    ("status", "stderr", "kind", "words"),
    [
        (55, NO_STANZA, RefusedError, "create the stanza first"),
        (50, LOCKED, BusyError, "Resource temporarily unavailable"),
        (56, DATABASE_DOWN, UnreachableError, "unable to find primary cluster"),
        (49, UNREACHABLE, UnreachableError, "Connection refused"),
        (32, BAD_VALUE, ConfigError, "'bogus' is not allowed"),
        (29, NOISE, RefusedError, "passphrase is wrong"),
        (82, "ERROR: [082]: WAL segment 0001 was not archived", OperationFailedError, "pg_stat_archiver"),
        (38, "", RefusedError, "PostgreSQL is running here"),
        (95, "", RefusedError, "passphrase is wrong"),
        (63, "", OperationFailedError, "interrupted by a signal"),
        (77, "", OperationFailedError, "unknown exit status"),
        (-9, "", OperationFailedError, "ended by signal 9"),
        (-11, "", OperationFailedError, "ended by signal 11"),
    ],
)
def test_each_status_is_an_error_with_a_remedy(status: int, stderr: str, kind: type[PgdrError], words: str) -> None:
    error = _error(status, stderr)
    assert isinstance(error, kind)
    text = str(error)
    assert words in text
    assert text.startswith("backup to repository 1: ")
    assert text.isprintable()
    assert "HINT" not in text
    assert error.remedy


def test_what_was_said_is_short_and_said_once() -> None:
    text = summary(UNREACHABLE)
    assert text.count("Connection refused") == 1
    assert "retries" not in text
    assert "unable to check pg1" not in summary(DATABASE_DOWN)
    assert len(summary("ERROR: [099]: " + "x" * 5000)) == 300


def test_a_collective_status_is_resolved_by_the_one_error_in_it() -> None:
    """`RepoInvalidError` and `CommandError` only say: see below."""
    said = "ERROR: [103]: unable to find a valid repository:\n  repo2: [CryptoError] cipher header invalid"
    assert isinstance(_error(103, said), RefusedError)
    assert "cannot be decrypted" in str(_error(103, said))
    both = said + "\n  repo1: [HostConnectError] no answer"
    assert code_of(both) is None
    assert "no repository is usable" in str(_error(103, both))


def test_the_last_full_that_must_not_go_is_a_refusal() -> None:
    """pgBackRest 2.55 goes on after it and ends with 104; as it was written in the lab."""
    said = (
        "ERROR: [075]: repo1: full backup 20261122-223932F cannot be expired until another full backup has been created"
        " on this repo\nERROR: [104]: expire command encountered 1 error(s), check the log file for details"
    )
    error = _error(104, said)
    assert isinstance(error, RefusedError)
    assert "or is the last full [pgBackRest 75 backup-set-invalid]: repo1: full backup 20261122-223932F" in str(error)
    assert "the last full goes when another was taken" in error.remedy
    assert "met one or more errors" in str(_error(104, said + "\nERROR: [041]: cannot open a file"))


def test_warnings_are_kept() -> None:
    assert warnings(PROMOTED) == ["no prior backup exists, incr backup has been changed to full"]
    assert warnings(LOCKED) == []


def test_every_fault_has_a_class_a_meaning_and_a_remedy() -> None:
    for code, fault in FAULTS.items():
        error = fault_error(code, "", action="x")
        assert isinstance(error, PgdrError)
        assert error.exit_code in ExitCode
        assert error.exit_code < 126
        assert fault.meaning
        assert fault.remedy
        assert (error.status, error.fault) == (code, fault.name)


def test_codes_are_found_by_the_name_of_their_class() -> None:
    assert code_of("[HostConnectError] x") == 49
    assert code_of("[DbMismatchError] x") == 58
    assert code_of("[FileMissingError] x [FileMissingError] y") == 55
    assert code_of("nothing") is None


def test_of_a_refused_request_the_reason_stays_and_the_headers_go() -> None:
    said = """2026-11-22 19:13:10.025 P00  ERROR: [039]: HTTP request failed with 403 (Forbidden):
                                    *** Path/Query ***:
                                    GET /bucket/?list-type=2
                                    *** Request Headers ***:
                                    authorization: <redacted>
                                    host: s3
                                    *** Response Headers ***:
                                    content-length: 252
                                    *** Response Content ***:
                                    <?xml version="1.0"?><Error><Code>KMS.DisabledException</Code><Message/></Error>
2026-11-22 19:13:10.025 P00   INFO: backup command end: aborted with exception [039]
"""
    expected = "HTTP request failed with 403 (Forbidden): GET /bucket/?list-type=2 S3 says KMS.DisabledException"
    assert summary(said) == expected
