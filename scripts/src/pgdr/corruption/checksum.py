"""Judge one page of a data file as PostgreSQL does when it reads it, without PostgreSQL.

``pg_checksums`` wants the server stopped, and the server itself shows what it has in memory and not what is on disk.
The sums are those of PostgreSQL's ``storage/checksum_impl.h``: 32 lanes of FNV-1a over 32-bit words. Sixteen lanes at
a time lie in one of Python's long integers, each in 64 bits of its own, so that a page takes some 50 microseconds.
"""

from __future__ import annotations

import struct

PAGE_SIZE = 8192
_PRIME = 16777619
_LANES = 32
_ROW = 4 * _LANES
_OFFSETS = (
    *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C),
    *(0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB),
    *(0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4),
    *(0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756),
)
_HALF = _LANES // 2


def _spread(values: tuple[int, ...]) -> int:
    return sum(value << (64 * lane) for lane, value in enumerate(values))


_WORDS = _spread((0xFFFFFFFF,) * _HALF)
# What is left of 32 bits after a shift by 17; above it stand bits of the next lane.
_SHIFTED = _spread((0x7FFF,) * _HALF)
_EVEN = _spread(_OFFSETS[0::2])
_ODD = _spread(_OFFSETS[1::2])
_HEADER = struct.Struct("<QHHHHHH")  # pd_lsn, pd_checksum, pd_flags, pd_lower, pd_upper, pd_special, pagesize_version
_KNOWN_FLAGS = 0x0007
_ALIGNED = 8


def page_checksum(page: bytes, block: int) -> int:
    """The checksum that a page of 8 KiB should carry at this position of its relation."""
    data = page[:8] + b"\0\0" + page[10:]
    even, odd = _EVEN, _ODD
    for start in range(0, PAGE_SIZE, _ROW):
        row = int.from_bytes(data[start : start + _ROW], "little")
        mixed = even ^ (row & _WORDS)
        even = ((mixed * _PRIME) & _WORDS) ^ ((mixed >> 17) & _SHIFTED)
        mixed = odd ^ ((row >> 32) & _WORDS)
        odd = ((mixed * _PRIME) & _WORDS) ^ ((mixed >> 17) & _SHIFTED)
    for _ in range(2):  # two rounds of zeros
        even = ((even * _PRIME) & _WORDS) ^ ((even >> 17) & _SHIFTED)
        odd = ((odd * _PRIME) & _WORDS) ^ ((odd >> 17) & _SHIFTED)
    folded = even ^ odd
    for width in (512, 256, 128, 64):
        folded = (folded >> width) ^ (folded & ((1 << width) - 1))
    return ((folded & 0xFFFFFFFF) ^ block) % 65535 + 1


def fault(page: bytes, block: int, *, checksums: bool) -> str:
    """What is wrong with a page, empty where nothing is.

    Args:
        page: its bytes.
        block: its number in the relation, over all segments of the fork.
        checksums: whether the cluster has them; without them only the header can be judged.
    """
    if len(page) != PAGE_SIZE:
        return f"the file ends in the middle of it, after {len(page)} bytes"
    _, checksum, flags, lower, upper, special, _ = _HEADER.unpack_from(page)
    if upper == 0:
        return "" if not any(page) else "its header is empty and the rest is not"
    if checksums and checksum != page_checksum(page, block):
        return "its checksum is wrong"
    if flags & ~_KNOWN_FLAGS or not lower <= upper <= special <= PAGE_SIZE or special % _ALIGNED:
        return "its header makes no sense"
    return ""
