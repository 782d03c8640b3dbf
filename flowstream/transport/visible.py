"""What a reader of committed data may see of a fetch's answer: no markers, nothing aborted.

Pure over aiokafka's compiled batches. Knows no position and no partition. What lies in a batch is
its producer's word: a broker may have looked at the header alone (`record.validation`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import lt
from typing import Any

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from flowstream.errors import WireError
from flowstream.wire.batch import DECOMPRESSED_MAX, Record, body_of, decode_records
from flowstream.wire.batch_header import (
    CODEC_MASK,
    HEADER_SIZE,
    LENGTH_OVERHEAD,
    iter_batches,
    read_header,
)

MOST_EXPANDED = DECOMPRESSED_MAX
"""Bytes of one batch's records."""
_LENGTH_AT, _ATTRIBUTES_AT = 8, 21
_LENGTH = struct.Struct(">i")
_ATTRIBUTES = struct.Struct(">h")


def judged(
    batches: Any, data: bytes, aborted: Iterable[tuple[int, int]], where: str
) -> Iterator[tuple[Any, bool]]:
    """Each batch of a `MemoryRecords` of `data`, and whether its records are to be seen (T6); then
    they are uncompressed.

    `aborted` are the first offset and the producer of each aborted transaction. Raises WireError
    for a batch that does not match its CRC, naming `where` it is, and for one that expands too far.
    """
    begins = sorted(aborted, reverse=True)
    going: set[int] = set()
    end = 0
    while batches.has_next():
        batch: Any = batches.next_batch()
        begin, end = end, end + LENGTH_OVERHEAD + _LENGTH.unpack_from(data, end + _LENGTH_AT)[0]
        if not batch.validate_crc():
            raise WireError(f"{where}: the batch before {batch.next_offset} does not match its CRC")
        producer = batch.producer_id
        while producer is not None and begins and begins[-1][0] <= batch.base_offset:
            going.add(begins.pop()[1])
        if batch.is_control_batch:
            if _is_abort(batch):
                going.discard(producer)
            yield batch, False
        elif batch.is_transactional and producer in going:
            yield batch, False
        else:
            yield _uncompressed(batch, memoryview(data)[begin:end]), True


def _uncompressed(batch: Any, data: memoryview) -> Any:
    """The batch in `data`, or its twin without compression: aiokafka would let it expand to any
    size, and 20 KiB may be a gigabyte (X3).
    """
    if first_offset(batch) is None or not batch.compression_type:
        return batch
    header = read_header(data)
    body = body_of(data, header, MOST_EXPANDED)
    head = bytearray(data[:HEADER_SIZE])
    _LENGTH.pack_into(head, _LENGTH_AT, HEADER_SIZE - LENGTH_OVERHEAD + len(body))
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, header.attributes & ~CODEC_MASK)
    return MemoryRecords(b"".join((head, body))).next_batch()


def first_offset(batch: Any) -> int | None:
    """Where a batch begins. Those of the formats before v2 have no producer, and do not say: their
    offsets were the broker's.
    """
    return None if batch.producer_id is None else batch.base_offset


def check_order(offsets: list[int], least: int, end: int) -> None:
    """WireError unless these rise from `least` on and stay before `end`: a position that follows
    others skips what other producers wrote behind the batch.
    """
    if not offsets:
        return
    first, last = offsets[0], offsets[-1]
    if last - first < len(offsets):  # without gaps, as nearly all are
        is_rising = offsets == list(range(first, last + 1))
    else:
        is_rising = all(map(lt, offsets, islice(offsets, 1, None)))
    if not (is_rising and least <= first and last < end):
        raise WireError(f"the offsets of its records do not rise from {least} to before {end}")


def reread(batch: Any, data: bytes) -> list[Record]:
    """The records of a batch that aiokafka could not read; `data` is the answer that it is from.

    It refuses a header key that is not UTF-8, which Kafka does not. What cannot be read here either
    raises WireError.
    """
    for position, header in iter_batches(data):
        if header.base_offset == batch.base_offset:
            return decode_records(memoryview(data)[position : position + header.size])
    raise WireError("no batch of format 2")


def _is_abort(batch: Any) -> bool:
    for record in batch:
        return bool(ControlRecord.parse(record.key) == ABORT_MARKER)
    return False
