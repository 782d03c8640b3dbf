"""Frames: headers of both kinds, versions that are not served, large records not copied."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest

from flowstream.errors import WireError
from flowstream.wire import frame
from flowstream.wire.api import API, ApiKey, request_class, response_class
from flowstream.wire.fields import layout_of
from flowstream.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from flowstream.wire.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from flowstream.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from flowstream.wire.messages.list_groups import ListGroupsRequest

FRAMES = Path(__file__).parents[1] / "data" / "kafka-4.3.1-frames.jsonl.gz"


def joined(buffers: list[frame.Buffer]) -> bytes:
    raw = b"".join(buffers)
    (length,) = struct.unpack_from(">i", raw)
    assert length == len(raw) - 4
    return raw[4:]


@pytest.mark.parametrize("client_id", [None, "", "client", "\N{SNOWMAN}"])
@pytest.mark.parametrize("version", [0, 3, 4])
def test_requests_round_trip(version: int, client_id: str | None) -> None:
    body = HeartbeatRequest(group_id="g", generation_id=3, member_id="m")
    raw = joined(frame.encode_request(ApiKey.HEARTBEAT, version, -5, client_id, body))
    assert frame.decode_request(raw) == (ApiKey.HEARTBEAT, version, -5, client_id, body)


@pytest.mark.parametrize("version", [0, 3, 4])
def test_responses_round_trip(version: int) -> None:
    body = HeartbeatResponse(error_code=27)
    raw = joined(frame.encode_response(ApiKey.HEARTBEAT, version, 9, body))
    assert frame.decode_response(ApiKey.HEARTBEAT, version, raw) == (9, body)


def test_the_response_header_of_api_versions_never_has_tags() -> None:
    raw = joined(frame.encode_response(ApiKey.API_VERSIONS, 3, 1, ApiVersionsResponse()))
    assert raw == struct.pack(">ihbib", 1, 0, 1, 0, 0)


def test_tags_in_a_request_header_are_skipped() -> None:
    raw = joined(frame.encode_request(ApiKey.LIST_GROUPS, 3, 1, None, ListGroupsRequest()))
    tagged = raw[:10] + b"\1\5\2xy" + raw[11:]
    assert frame.decode_request(tagged).body == ListGroupsRequest()


@pytest.mark.parametrize(
    ("key", "version"), [(18, 99), (18, -1), (0, 2), (0, 14), (999, 0), (-1, 0)]
)
def test_unsupported_versions_name_the_request(key: int, version: int) -> None:
    raw = struct.pack(">hhih", key, version, 77, 3) + b"cli" + b"whatever follows"
    with pytest.raises(frame.UnsupportedVersion) as caught:
        frame.decode_request(raw)
    error = caught.value
    assert (error.key, error.version, error.correlation_id, error.client_id) == (
        key,
        version,
        77,
        "cli",
    )
    assert str(key) in str(error)


@pytest.mark.parametrize("raw", [b"", b"\0" * 7, b"\0" * 8, struct.pack(">hhih", 18, 0, 1, -2)])
def test_short_headers_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError) as caught:
        frame.decode_request(raw)
    assert not isinstance(caught.value, frame.UnsupportedVersion)


def test_bytes_after_the_body_are_ignored_in_requests_and_refused_in_answers() -> None:
    raw = joined(frame.encode_request(18, 3, 1, "c", ApiVersionsRequest()))
    assert frame.decode_request(raw + b"\0") == frame.decode_request(raw)
    answer = joined(frame.encode_response(18, 3, 1, ApiVersionsResponse()))
    with pytest.raises(WireError):
        frame.decode_response(18, 3, answer + b"\0")


def test_unknown_apis_cannot_be_written() -> None:
    for key, version in ((999, 0), (18, 99)):
        with pytest.raises(WireError):
            frame.encode_request(key, version, 1, None, ApiVersionsRequest())
        with pytest.raises(WireError):
            frame.encode_response(key, version, 1, ApiVersionsResponse())


def test_large_records_are_sent_from_where_they_are() -> None:
    small, large = b"s" * 1024, memoryview(bytearray(1 << 20))
    partitions = tuple(
        PartitionData(partition_index=i, records=data)
        for i, data in enumerate((small, large, None, large, small))
    )
    body = FetchResponse(responses=(FetchableTopicResponse(topic="t", partitions=partitions),))
    buffers = frame.encode_response(ApiKey.FETCH, 11, 1, body)
    assert [part is large for part in buffers] == [False, True, False, True, False]
    raw = joined(buffers)
    _, read = frame.decode_response(ApiKey.FETCH, 11, raw)
    assert read == body


def test_the_table_is_kafkas() -> None:
    """As a real broker advertises it; an API that we do not know is not in the table. Produce 0 to
    2 are advertised and not served (KAFKA-18659).
    """
    with gzip.open(FRAMES, "rt") as lines:
        first = json.loads(next(lines))
    _, body = frame.decode_response(18, first["version"], bytes.fromhex(first["response"]))
    advertised = {each.api_key: (each.min_version, each.max_version) for each in body.api_keys}
    for api in API.values():
        oldest = 0 if api.key is ApiKey.PRODUCE else api.min_version
        assert advertised[api.key] == (oldest, api.max_version), api


def test_the_table_agrees_with_the_declarations() -> None:
    for api in API.values():
        for cls in (request_class(api.key), response_class(api.key)):
            layout = layout_of(cls)
            assert layout.versions == range(api.min_version, api.max_version + 1)
            flexible = [v for v in layout.versions if v in layout.flexible]
            assert flexible == [v for v in layout.versions if api.flexible(v)]
            assert cls.__doc__
