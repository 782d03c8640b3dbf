"""kafka-python 3 and kio as judges: what they read in our bytes, and what they write for it."""

from __future__ import annotations

import io
import uuid
import warnings
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

from kio.schema.index import api_key_map
from kio.serial import entity_reader, entity_writer

from flowstream.wire.fields import ZERO_UUID, layout_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # kafka-python's way to read its files
    from kafka.protocol.api_header import ResponseClassRegistry
    from kafka.protocol.api_message import ApiMessage


@cache
def kafka_python_class(name: str) -> type[Any] | None:
    """kafka-python's class for the message, None when it has no definition."""
    if not files("kafka.protocol.schemas.resources").joinpath(f"{name}.json").is_file():
        return None
    # A response's class registers itself in place of the one that kafka-python's own clients use,
    # which tests/interop runs in this process.
    registry = ResponseClassRegistry._response_class_registry
    before = dict(registry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = type(ApiMessage)(name, (ApiMessage,), {"__module__": __name__})
    registry.clear()
    registry.update(before)
    return made


def kafka_python_writes(message: Any, version: int) -> bytes:
    """What kafka-python writes for a message that it decoded."""
    message._header = None  # left unset by its decoder, asked for by its encoder
    return bytes(message.encode(version=version))


@cache
def kio_class(key: int, kind: str, name: str, version: int) -> type[Any] | None:
    """kio's class for the message, None when it has none."""
    if key not in api_key_map:
        return None
    try:
        module = import_module(f"kio.schema.{api_key_map[key]}.v{version}.{kind}")
    except ModuleNotFoundError:
        return None
    return getattr(module, name)


def kio_rewrites(cls: type[Any], raw: bytes) -> bytes:
    """What kio writes for what it read."""
    value, _ = entity_reader(cls)(raw, 0)
    out = io.BytesIO()
    entity_writer(cls)(out, value)
    return out.getvalue()


def plain(message: Any, version: int) -> Any:
    """Our message as dicts and tuples, fields that the version lacks left out."""
    if isinstance(message, tuple):
        return [plain(each, version) for each in message]
    if isinstance(message, memoryview):
        return bytes(message)
    if not hasattr(type(message), "__layout__"):
        return message
    fields = layout_of(type(message)).fields
    return {
        f.name: plain(getattr(message, f.name), version) for f in fields if version in f.versions
    }


def kafka_python_plain(message: Any, like: Any) -> Any:
    """kafka-python's value in the shape of `like`.

    It has None for an absent tagged struct and for the zero UUID; what it writes tells whether
    that was right.
    """
    if message is None and (isinstance(like, dict) or like == ZERO_UUID):
        return like
    if isinstance(like, dict):
        return {name: kafka_python_plain(getattr(message, name), like[name]) for name in like}
    if isinstance(like, list) and message is not None:
        return [kafka_python_plain(a, b) for a, b in zip(message, like, strict=True)]
    if isinstance(message, uuid.UUID):
        return message.bytes
    return bytes(message) if isinstance(message, memoryview | bytearray) else message
