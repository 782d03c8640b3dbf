"""X3, X4: whatever the bytes, decoding gives a value or WireError, soon and in bounded memory."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowstream.errors import WireError
from flowstream.wire.api import API, request_class, response_class
from flowstream.wire.decoder import ELEMENTS
from flowstream.wire.fields import layout_of
from flowstream.wire.frame import decode_request, decode_response
from flowstream.wire.messages.list_groups import ListedGroup, ListGroupsResponse
from flowstream.wire.schema import decode, encode

FRAMES = Path(__file__).parents[1] / "data" / "kafka-4.3.1-frames.jsonl.gz"
EXTREMES = [
    bytes.fromhex(text)
    for text in ("00", "01", "7f", "80", "ff", "7fff", "8000", "ffff", "7fffffff", "80000000")
] + [b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\xff" * 10, b"\x80" * 9 + b"\x01"]
MIB = 1 << 20


def frames() -> list[tuple[int, int, bytes, bytes]]:
    with gzip.open(FRAMES, "rt") as lines:
        pairs = [json.loads(line) for line in lines]
    return [
        (p["api_key"], p["version"], bytes.fromhex(p["request"]), bytes.fromhex(p["response"]))
        for p in pairs
    ]


def mutated(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(4):
            case 0:
                del out[at:]
            case 1:
                extreme = rng.choice(EXTREMES)
                out[at : at + len(extreme)] = extreme
            case 2:
                out[at:at] = rng.randbytes(rng.randrange(1, 5))
            case _:
                out[at : at + 1] = rng.randbytes(1)
    return bytes(out)


def outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except WireError:
        return None


def test_X4_mutated_frames_give_a_value_or_wire_error() -> None:
    seed = 20240
    rng = random.Random(seed)
    values = errors = 0
    for key, version, request, response in frames():
        for _ in range(12):
            changed = mutated(request, rng)
            answer = mutated(response, rng)
            read = outcome(lambda: decode_request(changed))  # noqa: B023
            other = outcome(lambda: decode_response(key, version, answer))  # noqa: B023
            for value in (read, other):
                values, errors = values + (value is not None), errors + (value is None)
            if other is not None:
                again = encode(other[1], version)
                assert encode(decode(type(other[1]), again, version), version) == again, seed
    assert values > 1000
    assert errors > 1000


def test_X4_every_truncation_of_a_request_is_refused() -> None:
    for _, _, request, _ in frames()[::5]:
        for cut in range(0, len(request), max(1, len(request) // 40)):
            with pytest.raises(WireError):
                decode_request(request[:cut])


def test_X4_random_bytes_for_every_message_and_version() -> None:
    rng = random.Random(7)
    for cls, version in every_message():
        for size in (0, 1, 3, 17, 64, 300):
            fill = rng.choice((b"\0", b"\1", b"\2", b"\x7f", b"\xff", b""))
            raw = fill * size if fill else rng.randbytes(size)
            outcome(lambda: decode(cls, raw, version))  # noqa: B023


def every_message() -> Iterator[tuple[type[Any], int]]:
    for api in API.values():
        for cls in (request_class(api.key), response_class(api.key)):
            for version in layout_of(cls).versions:
                yield cls, version


def crowded(cls: type[Any], version: int, count: int) -> Any:
    """A message whose arrays hold `count` of the smallest elements, which cost most per byte."""
    values = {}
    for each in layout_of(cls).fields:
        element = each.type.element
        if element is not None and version in each.versions:
            values[each.name] = (element.default,) * count
    return cls(**values)


def peak_of(read: Callable[[], Any]) -> int:
    outcome(read)  # compiles the codec, which is no matter of the input
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    value = outcome(read)
    _, peak = tracemalloc.get_traced_memory()
    del value
    return peak - before


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_X3_memory_of_many_small_elements_is_bounded() -> None:
    worst = 0.0
    for cls, version in every_message():
        layout = layout_of(cls)
        if version not in (layout.versions[0], layout.versions[-1], *layout.flexible[:1]):
            continue
        raw = encode(crowded(cls, version, 300), version)
        peak = peak_of(lambda: decode(cls, raw, version))  # noqa: B023
        worst = max(worst, (peak - MIB // 16) / max(1, len(raw)))
    assert worst <= 100, worst


@pytest.mark.usefixtures("traced")
def test_X3_memory_of_mutated_frames_is_bounded() -> None:
    rng = random.Random(11)
    for key, version, _, response in frames():
        for _ in range(3):
            raw = mutated(response, rng)
            peak = peak_of(lambda: decode_response(key, version, raw))  # noqa: B023
            assert peak <= 100 * len(raw) + MIB, (key, version, raw.hex())


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("count", [b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff\x0f"])
def test_X3_claimed_counts_allocate_nothing(count: bytes) -> None:
    for cls, version in every_message():
        for at in range(24):
            raw = bytes(at) + count + bytes(40)
            peak = peak_of(lambda: decode(cls, raw, version))  # noqa: B023
            assert peak <= 100 * len(raw) + MIB, (cls, version, at)


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def topics(count: int) -> bytes:
    """The topics of a Metadata v9, of two bytes each."""
    return uvarint(count + 1) + b"\x01\x00" * count + b"\x01\x00\x00\x00"


def partitions(count: int) -> bytes:
    """An OffsetFetch v7 of many topics with two partitions each."""
    each = b"\x01\x03" + b"\0\0\0\0\0\0\0\1" + b"\0"
    return b"\x02g" + uvarint(count // 3 + 1) + each * (count // 3) + b"\0\0"


def tags(count: int) -> bytes:
    """A DescribeGroups v5 with unknown tags."""
    unknown = b"".join(uvarint(number) + b"\0" for number in range(count))
    return b"\x01\0" + uvarint(count) + unknown


@pytest.mark.parametrize(
    ("key", "version", "body"), [(3, 9, topics), (9, 7, partitions), (15, 5, tags)]
)
def test_X3_X4_the_elements_of_a_request_are_counted(
    key: int, version: int, body: Callable[[int], bytes]
) -> None:
    """Each costs the broker a hundred times its bytes, and everybody's time."""
    head = bytes((0, key, 0, version)) + bytes(4) + b"\xff\xff\0"
    decode_request(head + body(ELEMENTS - 2))
    with pytest.raises(WireError, match=f"more than {ELEMENTS} elements"):
        decode_request(head + body(ELEMENTS + 10))
    with pytest.raises(WireError, match="a header with 1025 tags"):
        decode_request(head[:-1] + uvarint(1025) + body(1))


def test_X3_what_a_client_asked_for_may_be_longer() -> None:
    listed = ListGroupsResponse(groups=(ListedGroup(),) * (ELEMENTS + 1))
    assert decode(ListGroupsResponse, encode(listed, 5), 5) == listed
