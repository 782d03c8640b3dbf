"""Every frame that a real Kafka 4.3.1 exchanged with Java, librdkafka and aiokafka decodes and
encodes to the same bytes.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path

from flowstream.wire.frame import decode_request, decode_response, encode_request, encode_response

FRAMES = Path(__file__).parents[1] / "data" / "kafka-4.3.1-frames.jsonl.gz"


def frames() -> Iterator[tuple[int, int, bytes, bytes]]:
    with gzip.open(FRAMES, "rt") as lines:
        for line in lines:
            pair = json.loads(line)
            request, response = bytes.fromhex(pair["request"]), bytes.fromhex(pair["response"])
            yield pair["api_key"], pair["version"], request, response


def framed(raw: bytes) -> bytes:
    return struct.pack(">i", len(raw)) + raw


def test_requests_round_trip() -> None:
    seen = set()
    for key, version, raw, _ in frames():
        request = decode_request(raw)
        assert (request.key, request.version) == (key, version)
        assert b"".join(encode_request(*request)) == framed(raw), (key, version, request.body)
        seen.add((key, version))
    assert len(seen) == 77


def test_responses_round_trip() -> None:
    count = 0
    for key, version, request, raw in frames():
        correlation_id, body = decode_response(key, version, raw)
        assert correlation_id == decode_request(request).correlation_id
        assert b"".join(encode_response(key, version, correlation_id, body)) == framed(raw), body
        count += 1
    assert count == 354
