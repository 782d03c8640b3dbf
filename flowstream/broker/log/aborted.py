"""Aborted transactions of a segment: the `.txnindex` file and which of them a read_committed fetch
must name (T6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

_ENTRY = struct.Struct(">hqqqq")
_VERSION = 0
ENTRY_SIZE = _ENTRY.size


class Aborted(NamedTuple):
    """One transaction that was rolled back; `last_offset` is its marker's."""

    producer_id: int
    first_offset: int
    last_offset: int
    last_stable_offset: int


def encode_aborted(transactions: Iterable[Aborted]) -> bytes:
    """The content of a `.txnindex` file."""
    return b"".join(_ENTRY.pack(_VERSION, *transaction) for transaction in transactions)


def decode_aborted(data: bytes | memoryview) -> list[Aborted]:
    """The entries of a `.txnindex` file; an incomplete one at the end is left out."""
    whole = len(data) - len(data) % ENTRY_SIZE
    return [Aborted(*fields[1:]) for fields in _ENTRY.iter_unpack(data[:whole])]
