"""One way to turn the rows of a table into a checksum that can be added up.

Each row becomes two 64-bit hashes of its text form; a table's checksum is their sum modulo 2**64. A sum does
not depend on the order of rows, can be computed in parts (ranges of pages, partitions, several connections)
and can be moved forward by the rows that a client knows it added. It finds accidents and omissions; it is not
a cryptographic signature. The text form depends on session settings, so :data:`SESSION_SETTINGS` come first.
"""

from __future__ import annotations

# Text output of dates, intervals, floats, bytea and XML depends on these; all hosts must agree on them.
SESSION_SETTINGS: tuple[tuple[str, str], ...] = (
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("row_security", "off"),
    ("search_path", ""),
)

MODULUS = 2**64


def row_hash_sql(alias: str = "t") -> tuple[str, str]:
    """Return two SQL expressions, each a ``bigint`` hash of the whole row named ``alias``.

    The alias is a word that the caller wrote, never a name from a database.
    """
    if not alias.isidentifier():
        raise ValueError(f"not a plain alias: {alias!r}")
    return (f"hashtextextended({alias}::text, 0)", f"hashtextextended({alias}::text, 1)")


def checksum_text(sum0: int, sum1: int) -> str:
    """Fold two sums of row hashes into the 32 hexadecimal digits that reports show."""
    return f"{sum0 % MODULUS:016x}{sum1 % MODULUS:016x}"
