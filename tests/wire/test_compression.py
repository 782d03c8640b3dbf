"""The four codecs against aiokafka, kafka-python and the standard library, and against bombs."""

from __future__ import annotations

import gzip
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.errors import WireError
from flowstream.wire.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD, compress, decompress

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from aiokafka import codec as aiokafka
    from kafka import codec as kafka_python

ALL = (NONE, GZIP, SNAPPY, LZ4, ZSTD)
LIMIT = 1 << 20
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)
payloads = st.binary(max_size=300) | st.builds(
    lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(0, 5000)
)

READERS: list[tuple[int, Callable[[bytes], Any]]] = [
    (GZIP, aiokafka.gzip_decode),
    (GZIP, kafka_python.gzip_decode),
    (GZIP, gzip.decompress),
    (SNAPPY, aiokafka.snappy_decode),
    (LZ4, aiokafka.lz4_decode),
    (ZSTD, aiokafka.zstd_decode),
]
WRITERS: list[tuple[int, Callable[[bytes], Any]]] = [
    (GZIP, aiokafka.gzip_encode),
    (GZIP, kafka_python.gzip_encode),
    (SNAPPY, aiokafka.snappy_encode),
    (SNAPPY, cramjam.snappy.compress_raw),
    (LZ4, aiokafka.lz4_encode),
    (LZ4, cramjam.lz4.compress),
    (ZSTD, aiokafka.zstd_encode),
]


@quick
@given(payloads, st.sampled_from(ALL))
def test_round_trip(data: bytes, codec: int) -> None:
    assert decompress(codec, memoryview(compress(codec, data)), LIMIT) == data


@quick
@given(payloads.filter(len), st.sampled_from(READERS))
def test_others_read_ours(data: bytes, reader: tuple[int, Callable[[bytes], Any]]) -> None:
    codec, read = reader
    assert bytes(read(compress(codec, data))) == data


@quick
@given(payloads, st.sampled_from(WRITERS))
def test_we_read_others(data: bytes, writer: tuple[int, Callable[[bytes], Any]]) -> None:
    codec, write = writer
    assert decompress(codec, bytes(write(data)), LIMIT) == data


def test_lz4_frames_have_independent_blocks() -> None:
    """Java refuses linked ones; incompressible blocks are stored plain."""
    data = zlib.compress(bytes(range(256)) * 1000, 0) * 2
    raw = compress(LZ4, data)
    assert raw[4] & 0x20
    assert decompress(LZ4, raw, len(data)) == data


@pytest.mark.parametrize("codec", ALL)
def test_the_limit_is_exact(codec: int) -> None:
    data = b"x" * 100_000
    raw = compress(codec, data)
    assert decompress(codec, raw, 100_000) == data
    with pytest.raises(WireError):
        decompress(codec, raw, 99_999)


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_X3_a_bomb_costs_its_limit_and_no_more(codec: int) -> None:
    bomb = compress(codec, bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decompress(codec, bomb, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMIT


def test_X3_a_snappy_size_that_cannot_be_is_refused() -> None:
    with pytest.raises(WireError):
        decompress(SNAPPY, b"\xff\xff\xff\x7f\0", 1 << 40)


@pytest.mark.parametrize("codec", [5, 6, 7, -1])
def test_unknown_codecs_are_refused(codec: int) -> None:
    with pytest.raises(WireError):
        decompress(codec, b"", LIMIT)
    with pytest.raises(WireError):
        compress(codec, b"")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(ALL), payloads, st.data())
def test_X4_damaged_input_gives_bytes_or_wire_error(codec: int, data: bytes, draw: Any) -> None:
    raw = bytearray(compress(codec, data))
    if raw:
        raw[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
        del raw[draw.draw(st.integers(0, len(raw))) :]
    try:
        decompress(codec, raw, LIMIT)
    except WireError:
        pass


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(ALL), st.binary(max_size=64))
def test_X4_random_input_gives_bytes_or_wire_error(codec: int, raw: bytes) -> None:
    try:
        decompress(codec, raw, LIMIT)
    except WireError:
        pass
