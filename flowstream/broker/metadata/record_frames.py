"""The frame of a metadata record: its type and its version, before its message (KIP-631).

A type or version that is not declared is refused: ignoring, say, an access rule would be a guess.
"""

from __future__ import annotations

from flowstream.broker.metadata.records import RECORD_TYPES, WRITTEN, MetadataRecord
from flowstream.errors import FlowstreamError, WireError
from flowstream.wire.primitives import Buffer
from flowstream.wire.schema import byte_view, decode, encode

_FRAME_VERSION = 1


class MetadataError(FlowstreamError):
    """A metadata log that cannot be understood; the message says which record."""


def encode_record(record: MetadataRecord, version: int | None = None) -> bytes:
    """The value of a record: frame version, type and version as varints, then the message."""
    number, newest = WRITTEN[type(record)]
    version = newest if version is None else version
    assert max(number, version) < 128, "one byte each as varints"
    return bytes((_FRAME_VERSION, number, version)) + encode(record, version)


def decode_record(value: Buffer) -> tuple[MetadataRecord, int]:
    """The record in `value` and the version it was written in. Raises MetadataError."""
    view = byte_view(value)
    if len(view) < 3 or max(view[:3]) > 127:
        raise MetadataError(f"metadata record without a frame: {bytes(view[:16]).hex()}")
    frame, number, version = view[:3]
    if frame != _FRAME_VERSION:
        raise MetadataError(f"metadata record in frame version {frame}; only 1 is known")
    cls = RECORD_TYPES.get(number)
    if cls is None:
        raise MetadataError(
            f"metadata record type {number} is not supported; the directory was used by a broker "
            "with features that this one does not have"
        )
    try:
        return decode(cls, view[3:], version), version
    except WireError as error:
        raise MetadataError(f"bad {cls.__name__}: {error}") from error
