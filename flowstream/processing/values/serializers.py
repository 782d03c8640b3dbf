"""Serializers by name: how a value becomes bytes where its type alone does not say it.

Pure. `json|gzip|base64` is one after the other; what an app registers stands beside our own.
Nothing here runs what it reads: pickle is refused.
"""

from __future__ import annotations

import base64 as _base64
import dataclasses as _dataclasses
import gzip as _gzip
import zlib as _zlib
from typing import Any

import msgspec as _msgspec

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.values.codecs import BYTES, JSON, as_json, codec_of, plain
from flowstream.processing.values.codecs import Codec as TypedCodec

LARGEST_UNPACKED = 64 << 20
_GZIP_BITS = 16 + _zlib.MAX_WBITS
PICKLES = ("pickle", "pickle_restricted", "pickle_fickling", "raw_pickle")


class Codec:
    """A serializer: override `_dumps` and `_loads`. The first of several makes bytes of a value,
    the others bytes of bytes: `codec | other`.
    """

    def __init__(self, children: tuple[Codec, ...] = ()) -> None:
        self.children = children

    def _dumps(self, value: Any) -> Any:
        """Bytes of a value."""
        return value

    def _loads(self, data: Any) -> Any:
        """A value of bytes."""
        return data

    @property
    def nodes(self) -> tuple[Codec, ...]:
        """This one and those after it."""
        return (self, *self.children)

    def dumps(self, value: Any) -> bytes:
        """Bytes of a value, by all of them in order."""
        for node in self.nodes:
            value = node._dumps(value)
        return bytes(value)

    def loads(self, data: bytes) -> Any:
        """A value of bytes, by all of them from the last on."""
        value: Any = data
        for node in reversed(self.nodes):
            value = node._loads(value)
        return value

    def clone(self, *children: Codec) -> Codec:
        """The same, with more after it."""
        copied: Codec = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied.children = (*self.children, *children)
        return copied

    def __or__(self, other: Codec | str) -> Codec:
        return self.clone(*get_codec(other).nodes)

    def __repr__(self) -> str:
        return " | ".join(type(node).__name__ for node in self.nodes)


class Json(Codec):
    """JSON, as the type of a topic reads and writes it."""

    def _dumps(self, value: Any) -> bytes:
        return JSON.encode(plain(value))

    def _loads(self, data: bytes) -> Any:
        return JSON.decode(data)


class Raw(Codec):
    """Bytes as they are; text as UTF-8."""

    def _dumps(self, value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else BYTES.encode(value)


class Base64(Codec):
    """Bytes as base64."""

    def _dumps(self, value: Any) -> bytes:
        return _base64.b64encode(value)

    def _loads(self, data: bytes) -> bytes:
        return _base64.b64decode(data, validate=True)


class Gzip(Codec):
    """Bytes compressed, as gzip; equal values give equal bytes."""

    def _dumps(self, value: Any) -> bytes:
        return _gzip.compress(value, mtime=0)

    def _loads(self, data: bytes) -> bytes:
        return _inflated(data, _GZIP_BITS)


class Zlib(Codec):
    """Bytes compressed, as zlib."""

    def _dumps(self, value: Any) -> bytes:
        return _zlib.compress(value)

    def _loads(self, data: bytes) -> bytes:
        return _inflated(data, _zlib.MAX_WBITS)


def _inflated(data: bytes, bits: int) -> bytes:
    """What was compressed; ValueError when it is damaged, or larger than any record is meant to be:
    a few bytes can unpack to gigabytes.
    """
    unpacking = _zlib.decompressobj(bits)
    try:
        found = unpacking.decompress(data, LARGEST_UNPACKED + 1)
    except _zlib.error as error:
        raise ValueError(f"it does not unpack: {error}") from None
    if len(found) > LARGEST_UNPACKED:
        raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED} bytes")
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("it does not unpack: it ends too early or too late")
    return found


_KNOWN: dict[str, Codec] = {
    "json": Json(), "raw": Raw(), "binary": Base64(), "base64": Base64(), "gzip": Gzip(),
    "zlib": Zlib(),
}  # fmt: skip


def register(name: str, codec: Codec) -> None:
    """Know a codec by a name: for `value_serializer="name"` of a topic."""
    if not isinstance(codec, Codec):
        raise AppError(f"codec {name!r} must be an object of a subclass of fs.Codec, not {codec!r}")
    if not name or "|" in name:
        raise AppError(f"a codec's name is a text without '|', not {described(name)}")
    if name in PICKLES:
        raise AppError(_no_pickle(name))
    _KNOWN[name] = codec


def get_codec(named: str | Codec) -> Codec:
    """The codec of a name, or of several: `json|gzip`. AppError when one is not known."""
    if isinstance(named, Codec):
        return named
    if not isinstance(named, str):
        raise AppError(f"a serializer is a name or a codec, not {described(named)}")
    first, *rest = [_known(name.strip()) for name in named.split("|")]
    return first.clone(*(node for codec in rest for node in codec.nodes)) if rest else first


def _known(name: str) -> Codec:
    if name in PICKLES:
        raise AppError(_no_pickle(name))
    if name not in _KNOWN:
        raise AppError(
            f"no serializer {name!r}: known are {', '.join(sorted(_KNOWN))}; add your own with"
            f" codecs.register({name!r}, ...) before the topic is declared"
        )
    return _KNOWN[name]


def _no_pickle(name: str) -> str:
    return (
        f"{name} is refused: whoever can write to the topic could have any code run by its reader"
    )


def dumps(codec: str | Codec | None, value: Any) -> bytes:
    """Bytes of a value by a codec; without one, of bytes as they are."""
    return (_KNOWN["raw"] if codec is None else get_codec(codec)).dumps(value)


def loads(codec: str | Codec | None, data: bytes) -> Any:
    """A value of bytes by a codec; without one, the bytes."""
    return (_KNOWN["raw"] if codec is None else get_codec(codec)).loads(data)


def typed(kind: Any, serializer: str | Codec | None) -> TypedCodec[Any]:
    """The codec of a topic's type, by a serializer when one is named.

    Errors of any kind are ValueErrors here, as an agent's policy expects them of foreign bytes.
    """
    if serializer is None:
        return codec_of(kind)
    found = get_codec(serializer)
    first, rest = found.nodes[0], found.nodes[1:]
    inner = _typed_by(kind, first)
    if not rest:
        return inner

    def encode(value: Any) -> bytes:
        data: Any = inner.encode(value)
        for node in rest:
            data = node._dumps(data)
        return bytes(data)

    def decode(data: bytes) -> Any:
        unpacked: Any = data
        try:
            for node in reversed(rest):
                unpacked = node._loads(unpacked)
        except Exception as error:
            raise _undecodable(found, error) from error
        return inner.decode(unpacked)

    named = f"{inner.name} ({found!r})"
    return TypedCodec(named, encode, decode, inner.immutable, inner.nullable)


def _typed_by(kind: Any, first: Codec) -> TypedCodec[Any]:
    if isinstance(first, Json):
        return as_json(kind)
    if isinstance(first, Raw):
        if kind is Any or kind is None:
            # Whoever said no type may give text, too; it is read as its bytes.
            return _dataclasses.replace(BYTES, encode=first._dumps, check=None)
        if kind not in (bytes, str, int, float, bool):
            raise AppError(
                f"'raw' is bytes as they are: it makes no {getattr(kind, '__name__', kind)}"
            )
        return codec_of(kind)
    json = as_json(kind)

    def encode(value: Any) -> bytes:
        json.encode(value)  # refuses what is of another type
        return bytes(first._dumps(plain(value)))

    def decode(data: bytes) -> Any:
        try:
            loaded = first._loads(data)
        except Exception as error:
            raise _undecodable(first, error) from error
        return json.decode(JSON.encode(plain(loaded)))

    return TypedCodec(f"{json.name} ({first!r})", encode, decode, json.immutable, json.nullable)


def _undecodable(codec: Codec, error: Exception) -> Exception:
    if isinstance(error, ValueError | TypeError | _msgspec.MsgspecError):
        return error
    return ValueError(f"{codec!r} cannot read it: {type(error).__name__}: {error}")
