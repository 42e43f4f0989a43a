"""The exit code of a backup to several repositories."""

from __future__ import annotations

import pytest

from pgdr.backup import BackupReport, RepositoryBackup
from pgdr.errors import ExitCode


def _result(code: ExitCode) -> RepositoryBackup:
    return RepositoryBackup(1, "/x", code, "x")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], 0),
        ([0, 7], 1),
        ([7, 7], 7),
        ([5, 0], 5),
        ([5, 5], 5),
        ([5, 7], 1),
        ([4, 7], 1),
        ([6], 6),
    ],
)
def test_the_exit_code_says_most(codes: list[int], expected: int) -> None:
    report = BackupReport("full", tuple(_result(ExitCode(code)) for code in codes))
    assert report.exit_code == expected


def test_a_backup_that_is_not_recorded_is_no_full_success() -> None:
    assert BackupReport("incr", (_result(ExitCode.OK),), "cannot write").exit_code is ExitCode.CONFIG
    assert BackupReport("incr", (_result(ExitCode.BUSY),), "cannot write").exit_code is ExitCode.BUSY
