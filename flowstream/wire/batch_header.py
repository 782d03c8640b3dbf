"""The header of record batches of format 2 (KIP-98): read, checked and patched in place.

Nothing is copied and no record is looked at. Knows no log and no message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from flowstream.errors import WireError
from flowstream.wire.checksum import crc32c
from flowstream.wire.primitives import Buffer

HEADER_SIZE = 61
"""Bytes before the records."""
LENGTH_OVERHEAD = 12
"""Bytes of base offset and length, which the length does not count."""
MAGIC = 2

CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40

_CRC_AT = 17
_CRC_FROM = 21
_LEADER_EPOCH_AT = 12
_MAX_TIMESTAMP_AT = 35
_SEQUENCES = 0x80000000

HEADER = struct.Struct(">qiibIhiqqqhii")
_INT64 = struct.Struct(">q")
_INT32 = struct.Struct(">i")
_UINT32 = struct.Struct(">I")
_INT16 = struct.Struct(">h")


@dataclass(slots=True)
class BatchHeader:
    """The 61 bytes before the records, in their order."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return LENGTH_OVERHEAD + self.batch_length

    @property
    def last_offset(self) -> int:
        """Offset of the last record, also of one that was compacted away."""
        return self.base_offset + self.last_offset_delta

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record; they wrap to 0 after 2^31-1. -1 without a sequence."""
        if self.base_sequence < 0:
            return -1
        return (self.base_sequence + self.last_offset_delta) % _SEQUENCES

    @property
    def codec(self) -> int:
        """Number of the compression codec, 0 for none."""
        return self.attributes & CODEC_MASK

    @property
    def is_log_append_time(self) -> bool:
        """The broker stamped the batch: all its records have `max_timestamp`."""
        return self.attributes & LOG_APPEND_TIME != 0

    @property
    def is_transactional(self) -> bool:
        """Part of a transaction."""
        return self.attributes & TRANSACTIONAL != 0

    @property
    def is_control(self) -> bool:
        """Holds a marker instead of data."""
        return self.attributes & CONTROL != 0

    @property
    def has_delete_horizon(self) -> bool:
        """`base_timestamp` is the time from which its tombstones or marker may go (KIP-534)."""
        return self.attributes & DELETE_HORIZON != 0


def read_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header at `position`, as it stands: nothing but its being there is checked."""
    try:
        return BatchHeader(*HEADER.unpack_from(buffer, position))
    except struct.error as error:
        raise WireError(f"a batch header in {len(buffer) - position} bytes") from error


def check_crc(buffer: Buffer, header: BatchHeader, position: int = 0) -> bool:
    """Whether the batch of `header` at `position` is whole and its bytes match its CRC-32C."""
    end = position + header.size
    if header.size < HEADER_SIZE or end > len(buffer):
        return False
    return bool(crc32c(memoryview(buffer)[position + _CRC_FROM : end]) == header.crc)


def iter_batches(buffer: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """Each whole batch with its position; an incomplete one at the end is left out.

    Raises WireError where no batch of format 2 can begin.
    """
    position, end = 0, len(buffer)
    while end - position >= HEADER_SIZE:
        header = read_header(buffer, position)
        if header.magic != MAGIC or header.size < HEADER_SIZE:
            raise WireError(f"no record batch at byte {position}")
        if header.size > end - position:
            return
        yield position, header
        position += header.size


def patch(
    buffer: bytearray | memoryview, base_offset: int, leader_epoch: int, position: int = 0
) -> None:
    """Set what a broker sets when it appends: offset and leader epoch, both outside the CRC."""
    _INT64.pack_into(buffer, position, base_offset)
    _INT32.pack_into(buffer, position + _LEADER_EPOCH_AT, leader_epoch)


def restamp(buffer: bytearray | memoryview, log_append_time: int, position: int = 0) -> None:
    """Give a batch the broker's time: attributes, largest timestamp, and the new CRC."""
    header = read_header(buffer, position)
    end = position + header.size
    if header.size < HEADER_SIZE or end > len(buffer):
        raise WireError(f"no whole batch at byte {position}")
    _INT16.pack_into(buffer, position + _CRC_FROM, header.attributes | LOG_APPEND_TIME)
    _INT64.pack_into(buffer, position + _MAX_TIMESTAMP_AT, log_append_time)
    seal(buffer, position, end)


def seal(buffer: bytearray | memoryview, position: int, end: int) -> None:
    """Write the CRC-32C of the batch from `position` to `end`."""
    _UINT32.pack_into(
        buffer, position + _CRC_AT, crc32c(memoryview(buffer)[position + _CRC_FROM : end])
    )
