"""Aborted transactions of a segment: the `.txnindex` file and which of them a read_committed fetch
must name (T6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from flowstream.wire.checksum import crc32c

_ENTRY = struct.Struct(">hqqqq")
_CHECK = struct.Struct(">qI")
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


def encode_check(log_size: int, index: bytes) -> bytes:
    """The content of a `.txnindex.crc` file: of which size the segment was, and the CRC-32C of the
    index (D6).
    """
    return _CHECK.pack(log_size, crc32c(index))


def agrees(check: bytes | memoryview, log_size: int, index: bytes | memoryview) -> bool:
    """Whether the index of a segment of `log_size` bytes is what was written. A check of another
    size is an older one: another program has written the segment anew.
    """
    found = decode_check(check)
    return found is not None and (found[0] != log_size or found[1] == crc32c(index))


def decode_check(check: bytes | memoryview) -> tuple[int, int] | None:
    """Size of the segment and CRC-32C of the index, None when it is no such file's content."""
    return _CHECK.unpack(check) if len(check) == _CHECK.size else None
