"""What each file of a data directory says, entry by entry (`flowstream dump`).

One explainer per kind of file, chosen by its name. An entry is a dictionary whose `kind` says what
it is; what does not fit becomes an entry of kind `problem`, and the rest is still explained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from flowstream.broker.doors import Storage
from flowstream.broker.inspection.entries import File, problem
from flowstream.broker.inspection.own_files import OWN_EXPLAINERS, explain_journal
from flowstream.broker.inspection.words import (
    CODECS,
    Words,
    control_words,
    internal_words,
    text_of,
)
from flowstream.broker.log import checkpoints, journal, names
from flowstream.broker.log.aborted import ENTRY_SIZE, decode_aborted
from flowstream.broker.log.checkpoints import CorruptCheckpoint, encode_uuid
from flowstream.broker.log.index import OffsetIndex, TimeIndex
from flowstream.broker.log.scanning import whole_batches
from flowstream.broker.log.snapshots import CorruptSnapshot, decode_snapshot
from flowstream.broker.types import Instant
from flowstream.errors import FlowstreamError
from flowstream.wire.batch import BatchHeader, check_crc, decode_records

QUORUM_STATE = "quorum-state"
"""Written by Apache Kafka beside its metadata log."""
_LEFT_OVER = (names.DELETED, names.CLEANED, names.SWAP)


class UnknownFile(FlowstreamError):
    """The name is none that a data directory has."""


def explain(storage: Storage, path: str, *, deep: bool = False) -> Iterator[Words]:
    """The entries of a file; of a segment the batches, and their records when `deep`; of a journal
    the frames, and what they hold of which file when `deep`. Raises UnknownFile.
    """
    size = storage.size(path)
    if size is None:
        raise UnknownFile(f"{path}: there is no such file")
    name = _whole_name(path)
    file = File(storage, path, name, size)
    if _is_segment(name):
        return _segment(file, deep=deep)
    if name in journal.FILES:
        return explain_journal(file, deep=deep)
    explainer = _explainer(name)
    if explainer is None:
        known = ", ".join([names.LOG, names.CHECKPOINT, *journal.FILES, *_EXPLAINERS])
        raise UnknownFile(f"{path}: not a file of a data directory; explained are {known}")
    return explainer(file)


def is_explained(path: str) -> bool:
    """Whether a file's name is one that a data directory has, and `explain` knows."""
    name = _whole_name(path)
    if name.endswith(names.LOG):  # as others' files do, RocksDB's among them
        return names.offset_of(name, names.LOG) is not None
    return _is_segment(name) or name in journal.FILES or _explainer(name) is not None


def _whole_name(path: str) -> str:
    """A file's name without what is behind it while the file is on its way out or in."""
    name = path.rpartition("/")[2]
    for suffix in _LEFT_OVER:
        name = name.removesuffix(suffix)
    return name


def _is_segment(name: str) -> bool:
    return name.endswith((names.LOG, names.CHECKPOINT))


def _explainer(name: str) -> Callable[[File], Iterator[Words]] | None:
    return next((found for suffix, found in _EXPLAINERS.items() if name.endswith(suffix)), None)


def batch_words(position: int, header: BatchHeader, *, crc_ok: bool) -> Words:
    """A batch's header."""
    return {
        "kind": "batch",
        "position": position,
        "base_offset": header.base_offset,
        "last_offset": header.last_offset,
        "count": header.count,
        "size": header.size,
        "crc": header.crc,
        "crc_ok": crc_ok,
        "codec": CODECS[header.codec] if header.codec < len(CODECS) else header.codec,
        "leader_epoch": header.leader_epoch,
        "base_timestamp": header.base_timestamp,
        "max_timestamp": header.max_timestamp,
        "timestamp_type": "LogAppendTime" if header.is_log_append_time else "CreateTime",
        "delete_horizon": header.base_timestamp if header.has_delete_horizon else None,
        "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "transactional": header.is_transactional,
        "control": header.is_control,
    }


def _segment(file: File, *, deep: bool) -> Iterator[Words]:
    position = 0
    for at, header, batch in whole_batches(file.storage, file.path, 0, file.size):
        crc_ok = check_crc(batch, header)
        yield batch_words(at, header, crc_ok=crc_ok)
        if not crc_ok:
            yield problem("the CRC does not match the bytes", position=at)
        elif deep or header.is_control:
            yield from _records(file, at, header, batch)
        position = at + header.size
    if position < file.size:
        rest = file.size - position
        yield problem(f"no whole batch begins here; {rest} bytes are left", position=position)


def _records(file: File, position: int, header: BatchHeader, batch: memoryview) -> Iterator[Words]:
    try:
        records = decode_records(batch)
    except FlowstreamError as error:
        yield problem(f"the records cannot be read: {error}", position=position)
        return
    for record in records:
        words: Words = {
            "kind": "record",
            "offset": record.offset,
            "timestamp": record.timestamp,
            "key_size": -1 if record.key is None else len(record.key),
            "value_size": -1 if record.value is None else len(record.value),
        }
        if header.is_control:
            yield {**words, "kind": "control", **control_words(record)}
            continue
        try:
            decoded = internal_words(file.topic, record)
        except FlowstreamError as error:
            yield problem(
                f"record {record.offset} cannot be understood: {error}", position=position
            )
            decoded = None
        if decoded is None:
            decoded = {"key": text_of(record.key), "value": text_of(record.value)}
        headers = [[name, text_of(value)] for name, value in record.headers]
        yield {**words, "headers": headers, **decoded}


def _offset_index(file: File) -> Iterator[Words]:
    yield from _whole(file, OffsetIndex.ENTRY.size)
    whole = file.size - file.size % OffsetIndex.ENTRY.size
    for at, (relative, position) in enumerate(
        OffsetIndex.ENTRY.iter_unpack(file.content()[:whole])
    ):
        if not relative and not position and at:
            return  # Kafka makes index files at their full size and fills them up
        yield {"kind": "index", "offset": file.base_offset + relative, "position": position}


def _time_index(file: File) -> Iterator[Words]:
    yield from _whole(file, TimeIndex.ENTRY.size)
    whole = file.size - file.size % TimeIndex.ENTRY.size
    for at, (timestamp, relative) in enumerate(TimeIndex.ENTRY.iter_unpack(file.content()[:whole])):
        if not timestamp and not relative and at:
            return
        yield {"kind": "time", "timestamp": timestamp, "offset": file.base_offset + relative}


def _aborted_index(file: File) -> Iterator[Words]:
    yield from _whole(file, ENTRY_SIZE)
    for entry in decode_aborted(file.content()):
        yield {"kind": "aborted", **entry._asdict()}


def _whole(file: File, entry: int) -> Iterator[Words]:
    if file.size % entry:
        yield problem(f"{file.size} bytes are not a whole number of {entry}-byte entries")


def _snapshot(file: File) -> Iterator[Words]:
    try:
        producers = decode_snapshot(file.content(), Instant(0))
    except CorruptSnapshot as error:
        yield problem(f"not a whole producer snapshot: {error}")
        return
    for producer in producers:
        sequence, offset, span, _ = producer.batches[-1] if producer.batches else (-1, -1, 0, -1)
        yield {
            "kind": "producer",
            "producer_id": producer.producer_id,
            "producer_epoch": producer.epoch,
            "coordinator_epoch": producer.coordinator_epoch,
            "transaction_from": producer.first_offset if producer.first_offset >= 0 else None,
            "last_sequence": sequence,
            "last_offset": offset,
            "offset_delta": span,
            "timestamp": producer.timestamp,
        }


def _text_file(read: Callable[[File], Iterator[Words]]) -> Callable[[File], Iterator[Words]]:
    """Kafka's small text files: one that is not understood is one problem."""

    def explained(file: File) -> Iterator[Words]:
        try:
            yield from read(file)
        except (CorruptCheckpoint, ValueError) as error:
            yield problem(str(error))

    return explained


def _offsets(file: File) -> Iterator[Words]:
    for tp, offset in checkpoints.decode_offsets(file.content(), file.path).items():
        yield {"kind": "offset", "topic": tp.topic, "partition": tp.partition, "offset": offset}


def _epochs(file: File) -> Iterator[Words]:
    for epoch, start in checkpoints.decode_epochs(file.content(), file.path):
        yield {"kind": "epoch", "epoch": epoch, "start_offset": start}


def _partition_metadata(file: File) -> Iterator[Words]:
    topic_id = checkpoints.decode_partition_metadata(file.content(), file.path)
    yield {"kind": "partition", "topic_id": encode_uuid(topic_id)}


def _meta_properties(file: File) -> Iterator[Words]:
    meta = checkpoints.decode_meta_properties(file.content(), file.path)
    directory = encode_uuid(meta.directory_id)
    yield {"kind": "directory", **meta._asdict(), "directory_id": directory}


def _clean_shutdown(file: File) -> Iterator[Words]:
    told = json.loads(bytes(file.content()) or b"{}")
    yield {"kind": "clean shutdown", "broker_epoch": told.get("brokerEpoch")}


def _quorum_state(file: File) -> Iterator[Words]:
    yield {"kind": "quorum state", "content": json.loads(bytes(file.content()))}


_EXPLAINERS: Mapping[str, Callable[[File], Iterator[Words]]] = {
    names.INDEX: _offset_index,
    names.TIMEINDEX: _time_index,
    names.TXNINDEX: _aborted_index,
    names.SNAPSHOT: _snapshot,
    names.LEADER_EPOCHS: _text_file(_epochs),
    names.PARTITION_METADATA: _text_file(_partition_metadata),
    checkpoints.RECOVERY_POINT: _text_file(_offsets),
    checkpoints.LOG_START: _text_file(_offsets),
    checkpoints.HIGH_WATERMARK: _text_file(_offsets),
    checkpoints.CLEANER: _text_file(_offsets),
    checkpoints.META_PROPERTIES: _text_file(_meta_properties),
    checkpoints.CLEAN_SHUTDOWN: _text_file(_clean_shutdown),
    QUORUM_STATE: _text_file(_quorum_state),
    **OWN_EXPLAINERS,
}
