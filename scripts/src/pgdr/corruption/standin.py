"""A stand-in for a data directory whose control file is lost: pgBackRest wants to know from one whose WAL it is given.

A new, empty cluster of the same version gets the lost one's identity, which WAL still names. It is never started.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgdr import process
from pgdr.corruption.control import CONTROL_FILE
from pgdr.errors import OperationFailedError, RefusedError
from pgdr.files import adopt_owner
from pgdr.hostconfig import HostConfig
from pgdr.recovery.controldata import read_control_data
from pgdr.recovery.walheader import wal_files

_CRC_POLYNOMIAL = 0x82F63B78
# Where the checksum may stand; it is behind all other fields, and each version has more of them.
_CRC_FIRST, _CRC_LAST = 200, 512


@contextmanager
def identity(config: HostConfig) -> Iterator[Path]:
    """A folder that pgBackRest takes for the cluster's, for a block of work: the real one if its control file is sound.

    Raises:
        RefusedError: WAL does not say whose it is.
        OperationFailedError: the stand-in could not be made.
    """
    try:
        read_control_data(config.bin_directory, config.data_directory)
    except OperationFailedError:
        with tempfile.TemporaryDirectory(prefix="pgdr-standin-", dir=config.state_directory) as folder:
            adopt_owner(Path(folder))
            yield _made(config, Path(folder) / "data")
        return
    yield config.data_directory


def _made(config: HostConfig, data: Path) -> Path:
    files = list(wal_files(config.data_directory))
    if len({file.system_identifier for file in files}) != 1:
        raise RefusedError(f"the WAL in {config.data_directory} does not say whose it is", remedy="nothing was changed")
    size = files[0].segment.size // 2**20
    argv = [config.program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale"]
    process.run([*argv, f"--wal-segsize={size}"])
    _rename(data / CONTROL_FILE, files[0].system_identifier)
    if read_control_data(config.bin_directory, data).system_identifier != files[0].system_identifier:
        raise OperationFailedError("a stand-in for the lost control file could not be made")
    return data


def _rename(path: Path, identifier: int) -> None:
    """Give a control file another system identifier, which is its first field, and the checksum that fits."""
    content = bytearray(path.read_bytes())
    place = next(
        (
            offset
            for offset in range(_CRC_FIRST, _CRC_LAST, 4)
            if struct.unpack_from("<I", content, offset)[0] == _crc(content[:offset])
        ),
        None,
    )
    if place is None:
        raise OperationFailedError("the control file of this version is not understood")
    struct.pack_into("<Q", content, 0, identifier)
    struct.pack_into("<I", content, place, _crc(content[:place]))
    path.write_bytes(content)


def _crc(data: bytes | bytearray) -> int:
    """CRC-32C, as PostgreSQL sums its control file."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (_CRC_POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF
