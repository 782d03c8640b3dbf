"""Frames: the header and the body of one request or response, after or with the 4-byte length.

Nothing here waits, and nothing but the header is read of a request whose API or version is unknown.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from flowstream.errors import WireError
from flowstream.wire.api import API, Api, ApiKey, request_class, response_class
from flowstream.wire.encoder import EncodeInto, Parts
from flowstream.wire.primitives import Buffer, read_string, read_tags, read_uvarint, string
from flowstream.wire.schema import byte_view, decoder, encoder

COPY_LIMIT = 1024
"""Record buffers above this many bytes are sent from where they are."""

_REQUEST_HEADER = struct.Struct(">hhi")
_INT32 = struct.Struct(">i")


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


def decode_request(frame: Buffer) -> Request:
    """The request in `frame`, which excludes the length. Raises UnsupportedVersion or another
    WireError.
    """
    view = byte_view(frame)
    try:
        key, version, correlation_id = _REQUEST_HEADER.unpack_from(view, 0)
    except struct.error as error:
        raise WireError(f"a request header in {len(view)} bytes") from error
    client_id, position = read_string(view, 8)
    api = API.get(key)
    if api is None or not api.min_version <= version <= api.max_version:
        raise UnsupportedVersion(key, version, correlation_id, client_id)
    if version >= api.flexible_from:
        position = _skip_tags(view, position)
    # Bytes after the body are ignored, as in Kafka: librdkafka 2.15 leaves some after Metadata v13.
    body, _ = decoder(request_class(key), version)(view, position)
    return Request(key, version, correlation_id, client_id, body)


def encode_response(key: int, version: int, correlation_id: int, body: object) -> list[Buffer]:
    """The response as buffers to send, the length included."""
    api = _known(key, version)
    # The response header of ApiVersions has no tagged fields, ever: its reader knows nothing of the
    # broker yet (KIP-511).
    tagged = version >= api.flexible_from and key != ApiKey.API_VERSIONS
    head = _INT32.pack(correlation_id) + b"\0" if tagged else _INT32.pack(correlation_id)
    return _frame(head, encoder(response_class(key), version), body)


def encode_request(
    key: int, version: int, correlation_id: int, client_id: str | None, body: object
) -> list[Buffer]:
    """The request as buffers to send, the length included."""
    api = _known(key, version)
    head = _REQUEST_HEADER.pack(key, version, correlation_id) + string(client_id)
    if version >= api.flexible_from:
        head += b"\0"
    return _frame(head, encoder(request_class(key), version), body)


def decode_response(key: int, version: int, frame: Buffer) -> tuple[int, Any]:
    """Correlation id and body of the response in `frame`, which excludes the length, to a request
    of this key and version.
    """
    api = _known(key, version)
    view = byte_view(frame)
    try:
        (correlation_id,) = _INT32.unpack_from(view, 0)
    except struct.error as error:
        raise WireError(f"a response header in {len(view)} bytes") from error
    position = 4
    if version >= api.flexible_from and key != ApiKey.API_VERSIONS:
        position = _skip_tags(view, position)
    body, position = decoder(response_class(key), version)(view, position)
    _check_end(api, version, position, view)
    return correlation_id, body


def _known(key: int, version: int) -> Api:
    api = API.get(key)
    if api is None or not api.serves(version):
        raise WireError(f"API key {key} version {version} is not known")
    return api


def _skip_tags(view: memoryview, position: int) -> int:
    count, position = read_uvarint(view, position)
    return read_tags(view, position, count)[1] if count else position


def _check_end(api: Api, version: int, position: int, view: memoryview) -> None:
    if position != len(view):
        left = len(view) - position
        raise WireError(f"{api.name} v{version}: {left} bytes left over")


def _frame(head: bytes, encode_into: EncodeInto, body: object) -> list[Buffer]:
    parts: Parts = [b"", head]
    encode_into(parts, body)
    size = sum(map(len, parts))
    if size > 0x7FFFFFFF:
        raise WireError(f"a frame of {size} bytes")
    parts[0] = _INT32.pack(size)
    if size <= COPY_LIMIT:
        return [b"".join(parts)]
    return _join_small(parts)


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
