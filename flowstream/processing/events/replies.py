"""Replies: how a request says where its answer goes, and how an answer names its request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flowstream.errors import FlowstreamError
from flowstream.processing.errors import text_of
from flowstream.processing.values.codecs import JSON, Codec, codec_of

REPLY_TO = "flowstream.reply-to"
CORRELATION = "flowstream.correlation"
ERROR = "flowstream.reply-error"

MOST_DIGITS = 10
"""Of a partition: more are none, and thousands are none that Python reads."""

Headers = Sequence[tuple[str, bytes | None]]


class ReplyFailed(FlowstreamError):
    """The agent that was asked failed on the value; the message says how."""


class ReplyTo(NamedTuple):
    """Where a request wants its reply: a partition, and the id of the request."""

    topic: str
    partition: int
    correlation: bytes


def request_headers(to: ReplyTo) -> tuple[tuple[str, bytes], ...]:
    """The headers of a request."""
    target = f"{to.topic}/{to.partition}".encode()
    return ((REPLY_TO, target), (CORRELATION, to.correlation))


def reply_to(headers: Headers) -> ReplyTo | None:
    """Where the sender of a record wants a reply, None when it wants none (or says it badly)."""
    found = dict(headers)
    target, correlation = found.get(REPLY_TO), found.get(CORRELATION)
    if target is None or correlation is None:
        return None
    topic, _, partition = target.decode("utf-8", "replace").rpartition("/")
    is_number = partition.isdecimal() and len(partition) <= MOST_DIGITS
    return ReplyTo(topic, int(partition), correlation) if is_number else None


def reply_headers(to: ReplyTo, error: BaseException | None = None) -> tuple[tuple[str, bytes], ...]:
    """The headers of a reply."""
    own: tuple[tuple[str, bytes], ...] = ((CORRELATION, to.correlation),)
    if error is None:
        return own
    return (*own, (ERROR, f"{type(error).__name__}: {text_of(error)}".encode("utf-8", "replace")))


def encode_reply(value: Any, codec: Codec[Any] | None) -> bytes | None:
    """A reply's bytes, by the declared type or by what the value is."""
    if value is None:
        return None
    if codec is not None:
        return codec.encode(value)
    # As it is read: any JSON. Models know best how they are written.
    kind = type(value)
    return (codec_of(kind) if hasattr(kind, "model_fields") else JSON).encode(value)


def decode_reply(data: bytes | None, headers: Headers, codec: Codec[Any]) -> Any:
    """What a reply says. ReplyFailed when it tells an error."""
    error = dict(headers).get(ERROR)
    if error is not None:
        raise ReplyFailed(error.decode("utf-8", "replace"))
    return None if data is None else codec.decode(data)
