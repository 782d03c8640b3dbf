"""Kafka's snapshots of the metadata log (KIP-630): after some days its oldest segments are gone,
and what they said is in the newest `.checkpoint` file. Reads them only; this broker writes none.
"""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.log import names
from flowstream.broker.log.scanning import whole_batches
from flowstream.broker.log.state import LogState
from flowstream.errors import CorruptLog
from flowstream.wire.batch import check_crc, decode_records

_HEADER, _FOOTER = 3, 4
"""Control records that begin and end a whole snapshot."""


class Beginning(NamedTuple):
    """What stands in place of a log's records below an offset."""

    offset: int
    batches: list[memoryview]


def read_beginning(log: LogState) -> Beginning:
    """The newest snapshot of a log that does not begin at offset 0. Raises CorruptLog where there
    is none, where it is not whole, or where the log ends before it does (D7).
    """
    present = log.storage.names(log.directory)
    found = {offset: name for name in present if (offset := _offset_of(name)) is not None}
    offset = max(found, default=-1)
    if offset < log.log_start:
        raise CorruptLog(
            f"{log.directory} starts at offset {log.log_start}, and no snapshot"
            f" ({names.CHECKPOINT}) holds what came before; {names.way_out(log.directory)}"
        )
    path = f"{log.directory}/{found[offset]}"
    if offset > log.log_end:
        raise CorruptLog(
            f"{log.directory} ends at offset {log.log_end}, before its snapshot {path};"
            f" {names.way_out(log.directory)}"
        )
    return Beginning(offset, _whole(log, path))


def _whole(log: LogState, path: str) -> list[memoryview]:
    size = log.storage.size(path) or 0
    batches: list[memoryview] = []
    end = offset = 0
    for position, header, batch in whole_batches(log.storage, path, 0, size):
        if header.base_offset != offset or not check_crc(batch, header):
            break
        batches.append(batch)
        end, offset = position + header.size, header.last_offset + 1
    marks = _kinds(batches[0])[:1] + _kinds(batches[-1])[-1:] if batches else []
    if end != size or marks != [_HEADER, _FOOTER]:
        raise CorruptLog(
            f"{path}: not whole from byte {end} on: the disk changed or lost bytes of this snapshot"
            f" of the metadata; {names.way_out(log.directory)}"
        )
    return batches


def _kinds(batch: memoryview) -> list[int]:
    """The kinds of the control records in a batch; of another batch nothing that means one."""
    return [int.from_bytes((record.key or b"")[2:4]) for record in decode_records(batch)]


def _offset_of(name: str) -> int | None:
    """The end of the log that a snapshot's name tells.

    >>> _offset_of("00000000000000000017-0000000002.checkpoint"), _offset_of("17.checkpoint")
    (17, None)
    """
    offset, dash, epoch = name.removesuffix(names.CHECKPOINT).partition("-")
    parts = (len(offset), dash, len(epoch)) == (20, "-", 10) and offset + epoch
    if not parts or not name.endswith(names.CHECKPOINT):
        return None
    return int(offset) if parts.isascii() and parts.isdigit() else None
