"""What a reader of committed data may see of a fetch's answer: no markers, nothing aborted.

Pure over aiokafka's compiled batches. Knows no position and no partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord

from flowstream.errors import WireError
from flowstream.wire.batch import Record, decode_records
from flowstream.wire.batch_header import iter_batches


def judged(
    batches: Any, aborted: Iterable[tuple[int, int]], where: str
) -> Iterator[tuple[Any, bool]]:
    """Each batch of a `MemoryRecords`, and whether its records are to be seen (T6).

    `aborted` are the first offset and the producer of each aborted transaction. Raises WireError
    for a batch that does not match its CRC, naming `where` it is.
    """
    begins = sorted(aborted, reverse=True)
    going: set[int] = set()
    while batches.has_next():
        batch: Any = batches.next_batch()
        if not batch.validate_crc():
            raise WireError(f"{where}: the batch before {batch.next_offset} does not match its CRC")
        producer = batch.producer_id
        # A batch of the formats before v2 has no producer, and does not say where it begins.
        while producer is not None and begins and begins[-1][0] <= batch.base_offset:
            going.add(begins.pop()[1])
        if batch.is_control_batch:
            if _is_abort(batch):
                going.discard(producer)
            yield batch, False
        else:
            yield batch, not (batch.is_transactional and producer in going)


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
