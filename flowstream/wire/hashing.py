"""The two hash functions that decide where Java clients and brokers put things: murmur2 for keys,
String.hashCode for ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

_M = 0x5BD1E995
_SEED = 0x9747B28C
_32 = 0xFFFFFFFF


def _blocks(data: bytes, end: int) -> Iterator[int]:
    return (int.from_bytes(data[i : i + 4], "little") for i in range(0, end, 4))


def murmur2(data: bytes) -> int:
    """Kafka's variant of 32-bit MurmurHash2, as an unsigned number.

    >>> murmur2(b"21")
    3321034988
    """
    length = len(data)
    whole = length & ~3
    h = _SEED ^ length
    for k in _blocks(data, whole):
        k = k * _M & _32
        h = (h * _M & _32) ^ ((k ^ k >> 24) * _M & _32)
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _32
    h = (h ^ h >> 13) * _M & _32
    return h ^ h >> 15


def java_hash(text: str) -> int:
    """`String.hashCode` of Java: over UTF-16 units, as an unsigned 32-bit number.

    >>> java_hash("golden-group")
    2865321147
    """
    raw = text.encode("utf-16-be", "surrogatepass")
    h = 0
    for i in range(0, len(raw), 2):
        h = (31 * h + (raw[i] << 8 | raw[i + 1])) & _32
    return h


def partition_for_key(key: bytes, partitions: int) -> int:
    """Where Java's default partitioner puts a record with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=256)
def coordinator_partition(name: str, partitions: int) -> int:
    """The partition of `__consumer_offsets` or `__transaction_state` that holds this group or
    transactional id.
    """
    return (java_hash(name) & 0x7FFFFFFF) % partitions
