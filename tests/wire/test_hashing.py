"""Keys and ids land where Java puts them."""

from __future__ import annotations

import doctest
import warnings

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.wire import hashing

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from aiokafka.partitioner import murmur2 as aiokafka_murmur2
    from kafka.partitioner.default import murmur2 as kafka_python_murmur2

# From Apache Kafka's own UtilsTest.
KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def test_known_murmur2_values() -> None:
    for key, value in KNOWN.items():
        assert hashing.murmur2(key) == value & 0xFFFFFFFF


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=40))
def test_murmur2_is_that_of_the_other_clients(key: bytes) -> None:
    assert hashing.murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF
    assert hashing.murmur2(key) == kafka_python_murmur2(key) & 0xFFFFFFFF


def test_java_hash_is_over_utf16_units() -> None:
    assert hashing.java_hash("") == 0
    assert hashing.java_hash("hello") == 99162322
    assert hashing.java_hash("polygenelubricants") == 0x80000000
    assert hashing.java_hash("\N{GRINNING FACE}") == (31 * 0xD83D + 0xDE00) & 0xFFFFFFFF


def test_partitions_are_never_negative() -> None:
    assert hashing.coordinator_partition("polygenelubricants", 50) == 0
    assert hashing.partition_for_key(b"21", 10) == ((-973932308) & 0x7FFFFFFF) % 10


def test_examples() -> None:
    assert doctest.testmod(hashing).failed == 0
