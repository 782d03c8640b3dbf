"""Values of a log as plain data for people and programs: messages, keys, times, control records.

Text and dictionaries out; which file they come from is not known here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from flowstream.broker.cores import METADATA_LOG, OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from flowstream.broker.groups import records as group_records
from flowstream.broker.log.checkpoints import encode_uuid
from flowstream.broker.metadata import record_frames
from flowstream.broker.transactions import records as transaction_records
from flowstream.wire.batch import Record

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_CONTROLS = {
    0: "abort",
    1: "commit",
    2: "leader change",
    3: "snapshot header",
    4: "snapshot footer",
    5: "kraft version",
    6: "kraft voters",
}

Words = dict[str, object]


def text_of(raw: bytes | None) -> object:
    """Text where it is some, else base64 in an object that says so."""
    if raw is None:
        return None
    try:
        text = bytes(raw).decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}
    return text if text.isprintable() else {"base64": base64.b64encode(raw).decode("ascii")}


def plain(value: object, name: str = "") -> object:
    """A message as dictionaries and lists; 16 bytes of an id as Kafka writes a UUID."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        return encode_uuid(raw) if len(raw) == 16 and _is_id(name) else text_of(raw)
    slots: Sequence[str] | None = getattr(type(value), "__slots__", None)
    if slots and not isinstance(value, tuple | Mapping):
        names = [each for each in slots if each != "unknown_tags"]
        return {each: plain(getattr(value, each), each) for each in names}
    if isinstance(value, Mapping):
        return [str(each) for each in value]
    if isinstance(value, tuple | list):
        return [plain(each, name) for each in value]
    return value


def _is_id(name: str) -> bool:
    return name.endswith(("id", "ids", "directories", "dirs"))


def control_words(record: Record) -> Words:
    """What a record of a control batch says."""
    key = record.key or b""
    kind = int.from_bytes(key[2:4], "big") if len(key) >= 4 else -1
    words: Words = {"control": _CONTROLS.get(kind, f"kind {kind}")}
    value = record.value or b""
    if kind in (0, 1) and len(value) >= 6:
        words["coordinator_epoch"] = int.from_bytes(value[2:6], "big", signed=True)
    return words


def internal_words(topic: str, record: Record) -> Words | None:
    """A record of an internal topic, decoded; None for other topics and for types that Kafka may
    add. Raises FlowstreamError for what cannot be understood.
    """
    decode = _DECODERS.get(topic)
    return None if decode is None else decode(record)


def _offsets_record(record: Record) -> Words | None:
    found = group_records.decode_record(record.key, record.value)
    if found is None:
        return None
    name = type(found.key).__name__.removesuffix("Key")
    return {"type": name, "key": plain(found.key), "value": plain(found.value)}


def _transaction_record(record: Record) -> Words | None:
    transactional_id = transaction_records.decode_key(record.key or b"")
    if transactional_id is None:
        return None
    state = None if record.value is None else transaction_records.decode_value(record.value)
    return {"type": "Transaction", "key": transactional_id, "value": plain(state)}


def _metadata_record(record: Record) -> Words | None:
    found, version = record_frames.decode_record(record.value or b"")
    return {"type": type(found).__name__, "version": version, "value": plain(found)}


_DECODERS: Mapping[str, Callable[[Record], Words | None]] = {
    OFFSETS_TOPIC: _offsets_record,
    TRANSACTIONS_TOPIC: _transaction_record,
    METADATA_LOG.topic: _metadata_record,
}
