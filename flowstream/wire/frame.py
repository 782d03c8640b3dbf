"""Frames: the header and the body of one request or response, after or with the 4-byte length.

Nothing here waits, and nothing but the header is read of a request whose API or version is unknown.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from flowstream.errors import WireError
from flowstream.wire.api import API, Api, ApiKey, request_class, response_class
from flowstream.wire.clipping import clipped
from flowstream.wire.decoder import ELEMENTS, DecodeFrom
from flowstream.wire.encoder import EncodeInto, Parts
from flowstream.wire.primitives import Buffer, read_tags, read_text, read_uvarint, string
from flowstream.wire.schema import byte_view, decoder, encoder

COPY_LIMIT = 1024
"""Record buffers above this many bytes are sent from where they are."""

unpack_length = struct.Struct(">i").unpack_from
"""The length before a frame, as a tuple of one."""

_REQUEST_HEADER = struct.Struct(">hhih")
_REQUEST_HEAD = struct.Struct(">ihhi")
_RESPONSE_HEAD = struct.Struct(">ii")
_TAGGED_RESPONSE_HEAD = struct.Struct(">iix")
_CORRELATION_ID = struct.Struct(">i")
_FRAME_MAX = 0x7FFFFFFF
HEADER_TAGS = 1_024
"""More than this nobody sends, and each costs a hundred times its bytes (X3)."""


@dataclass(slots=True)
class UnsupportedVersion(WireError):
    """A request with an API key or version that is not in the table. ApiVersions of a version that
    is too new is answered in version 0.
    """

    key: int
    version: int
    correlation_id: int
    client_id: str | None

    def __str__(self) -> str:
        return f"API key {self.key} version {self.version} is not supported"


class Request(NamedTuple):
    """A decoded request. Records in the body are views into the frame it came from."""

    key: int
    version: int
    correlation_id: int
    client_id: str | None
    body: Any


_plain = tuple.__new__
"""Makes a named tuple in half the time: one is made per request."""


class _Route:
    """All that frames of one API at one version need; compiled when first used."""

    def __init__(self, api: Api, version: int) -> None:
        self.api = api
        self.version = version
        self.tagged_request = api.flexible(version)
        # The response header of ApiVersions has no tagged fields, ever: its reader knows nothing of
        # the broker yet (KIP-511).
        self.tagged_response = self.tagged_request and api.key is not ApiKey.API_VERSIONS

    @cached_property
    def read_request(self) -> DecodeFrom[Any]:
        return decoder(request_class(self.api.key), self.version)

    @cached_property
    def write_request(self) -> EncodeInto:
        return encoder(request_class(self.api.key), self.version)

    @cached_property
    def read_response(self) -> DecodeFrom[Any]:
        return decoder(response_class(self.api.key), self.version)

    @cached_property
    def write_response(self) -> EncodeInto:
        return encoder(response_class(self.api.key), self.version)


_routes: dict[tuple[int, int], _Route] = {}


def _find_route(key: int, version: int) -> _Route | None:
    route = _routes.get((key, version))
    if route is None:
        api = API.get(key)
        if api is None or not api.serves(version):
            return None
        route = _routes[key, version] = _Route(api, version)
    return route


def _known_route(key: int, version: int) -> _Route:
    route = _find_route(key, version)
    if route is None:
        raise WireError(f"API key {key} version {version} is not known")
    return route


def decode_request(frame: Buffer, elements: int = ELEMENTS) -> Request:
    """The request in `frame`, which excludes the length. Raises UnsupportedVersion or another
    WireError, also when its arrays hold more than `elements` elements.
    """
    view = byte_view(frame)
    try:
        key, version, correlation_id, length = _REQUEST_HEADER.unpack_from(view, 0)
    except struct.error as error:
        raise WireError(f"a request header in {len(view)} bytes") from error
    client_id, position = (None, 10) if length == -1 else read_text(view, 10, length)
    route = _routes.get((key, version)) or _find_route(key, version)
    if route is None:
        raise UnsupportedVersion(key, version, correlation_id, client_id)
    if route.tagged_request:
        position = _skip_tags(view, position)
    # Bytes after the body are ignored, as in Kafka: librdkafka 2.15 leaves some after Metadata v13.
    body, _ = route.read_request(view, position, elements)
    return _plain(Request, (key, version, correlation_id, client_id, body))


def encode_response(key: int, version: int, correlation_id: int, body: object) -> list[Buffer]:
    """The response as buffers to send, the length included."""
    route = _routes.get((key, version)) or _known_route(key, version)
    parts: Parts = [b""]
    try:
        route.write_response(parts, body)
    except WireError:
        parts = [b""]
        route.write_response(parts, clipped(body))
    size = 4 + sum(map(len, parts))
    if route.tagged_response:
        return _sendable(parts, size + 1, _TAGGED_RESPONSE_HEAD, correlation_id)
    return _sendable(parts, size, _RESPONSE_HEAD, correlation_id)


def encode_request(
    key: int, version: int, correlation_id: int, client_id: str | None, body: object
) -> list[Buffer]:
    """The request as buffers to send, the length included."""
    route = _known_route(key, version)
    parts: Parts = [b"", string(client_id) + (b"\0" if route.tagged_request else b"")]
    route.write_request(parts, body)
    size = 8 + sum(map(len, parts))
    return _sendable(parts, size, _REQUEST_HEAD, key, version, correlation_id)


def decode_response(key: int, version: int, frame: Buffer) -> tuple[int, Any]:
    """Correlation id and body of the response in `frame`, which excludes the length, to a request
    of this key and version.
    """
    route = _known_route(key, version)
    view = byte_view(frame)
    try:
        (correlation_id,) = _CORRELATION_ID.unpack_from(view, 0)
    except struct.error as error:
        raise WireError(f"a response header in {len(view)} bytes") from error
    position = _skip_tags(view, 4) if route.tagged_response else 4
    body, position = route.read_response(view, position)
    if position != len(view):
        name, left = route.api.name, len(view) - position
        raise WireError(f"{name} v{version}: {left} bytes left over")
    return correlation_id, body


def _skip_tags(view: memoryview, position: int) -> int:
    if position < len(view) and view[position] == 0:
        return position + 1
    count, position = read_uvarint(view, position)
    if count > HEADER_TAGS:
        raise WireError(f"a header with {count} tags")
    return read_tags(view, position, count)[1]


def _sendable(parts: Parts, size: int, head: struct.Struct, *values: int) -> list[Buffer]:
    """Put length and header in the first place of `parts`, and join them unless they are large."""
    if size > _FRAME_MAX:
        raise WireError(f"a frame of {size} bytes")
    parts[0] = head.pack(size, *values)
    return [b"".join(parts)] if size <= COPY_LIMIT else _join_small(parts)


def _join_small(parts: Parts) -> list[Buffer]:
    """Join what is cheaper to copy than to send by itself."""
    sent: list[Buffer] = []
    small: Parts = []
    for part in parts:
        if len(part) <= COPY_LIMIT:
            small.append(part)
            continue
        if small:
            sent.append(b"".join(small))
            small = []
        sent.append(part)
    if small:
        sent.append(b"".join(small))
    return sent
