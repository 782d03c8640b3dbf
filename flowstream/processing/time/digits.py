"""Instants as the names and values of rows spell them: 16 digits, in whose order rows lie.

Pure. So wide that no instant needs more until the year 300,000.
"""

from __future__ import annotations

DIGITS = 16


def digits(number: int) -> bytes:
    """Milliseconds since 1970, or another number, as 16 digits.

    >>> digits(1_700_000_000_000)
    b'0001700000000000'
    """
    return b"%016d" % number


def leading(row: bytes) -> int:
    """The number that a row begins with."""
    return int(row[:DIGITS])
