"""Messages to bytes and back: the front of declarations (`fields`) and of the two compilers.

A message is compiled for a version when it is first used, encoding and decoding apart: a broker
never decodes a response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from flowstream.errors import WireError
from flowstream.wire.decoder import DecodeFrom, compile_decoder
from flowstream.wire.encoder import EncodeInto, Parts, compile_encoder
from flowstream.wire.fields import (
    BOOLEAN,
    BYTES,
    CLASSIC_STRING,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UINT16,
    UINT32,
    UUID,
    ZERO_UUID,
    array,
    field,
    layout_of,
    message,
    replace,
    struct,
    unknown_tags,
)
from flowstream.wire.primitives import Buffer

__all__ = [
    "BOOLEAN",
    "BYTES",
    "CLASSIC_STRING",
    "FLOAT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "RECORDS",
    "STRING",
    "UINT16",
    "UINT32",
    "UUID",
    "ZERO_UUID",
    "Buffer",
    "Codec",
    "Parts",
    "array",
    "byte_view",
    "compiled",
    "decode",
    "decoder",
    "encode",
    "encoder",
    "field",
    "message",
    "replace",
    "struct",
    "unknown_tags",
]

T = TypeVar("T")

_encoders: dict[tuple[type, int], EncodeInto] = {}
_decoders: dict[tuple[type, int], DecodeFrom[Any]] = {}


class Codec(NamedTuple, Generic[T]):
    """Both directions of one message at one version."""

    encode_into: Callable[[Parts, T], None]
    decode_from: Callable[[memoryview, int], tuple[T, int]]


def encoder(cls: type, version: int) -> EncodeInto:
    """`encode_into(parts, message)`: appends the buffers of the message; `records` are appended as
    they are, not copied.
    """
    made = _encoders.get((cls, version))
    if made is None:
        made = _encoders[cls, version] = compile_encoder(_checked(cls, version), version)
    return made


def decoder(cls: type[T], version: int) -> DecodeFrom[T]:
    """`decode_from(view, position)`: the message at `position` of a byte view, and the position
    after it. For a request also `decode_from(view, position, elements)`: how many it may have.
    """
    made = _decoders.get((cls, version))
    if made is None:
        made = _decoders[cls, version] = compile_decoder(_checked(cls, version), version)
    return made


def compiled(cls: type[T], version: int) -> Codec[T]:
    """Both directions of `cls` at `version`."""
    return Codec(encoder(cls, version), decoder(cls, version))


def encode(message: object, version: int) -> bytes:
    """The bytes of `message` at `version`."""
    parts: Parts = []
    encoder(type(message), version)(parts, message)
    return b"".join(parts)


def decode(cls: type[T], buffer: Buffer, version: int) -> T:
    """The message that fills `buffer` completely. `records` fields are views into it."""
    view = byte_view(buffer)
    value, end = decoder(cls, version)(view, 0)
    if end != len(view):
        raise WireError(f"{cls.__name__} v{version}: {len(view) - end} bytes left over")
    return value


def byte_view(buffer: Buffer) -> memoryview:
    """`buffer` as a flat view of bytes."""
    view = buffer if type(buffer) is memoryview else memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _checked(cls: type, version: int) -> Any:
    layout = layout_of(cls)
    if version not in layout.versions:
        raise WireError(f"{layout.name} has no version {version}")
    return layout
