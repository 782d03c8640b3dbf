"""XXH3, the 64-bit variant without a seed: the hash that Kafka keeps of what a group knows of its
topics (KIP-1101).

After the specification in xxHash's `doc/xxhash_spec.md`. For short inputs now and then; not fast.
"""

from __future__ import annotations

from struct import Struct

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_MASK = (1 << 64) - 1
_P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_P64 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_STRIPE, _BLOCK = 64, 1024
_LANES = Struct("<8Q")


def xxh3_64(data: bytes) -> int:
    """The hash of `data`, unsigned.

    >>> hex(xxh3_64(b""))
    '0x2d06800538d394c2'
    """
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 128:
        return _up_to_128(data)
    if size <= 240:
        return _up_to_240(data)
    return _long(data)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product & _MASK) ^ (product >> 64)


def _mix(data: bytes, at: int, secret: int) -> int:
    low = _word(data, at) ^ _word(_SECRET, secret)
    return _fold(low, _word(data, at + 8) ^ _word(_SECRET, secret + 8))


def _avalanche(value: int) -> int:
    value &= _MASK
    value ^= value >> 37
    value = value * 0x165667919E3779F9 & _MASK
    return value ^ value >> 32


def _avalanche_64(value: int) -> int:
    value ^= value >> 33
    value = value * _P64[1] & _MASK
    value ^= value >> 29
    value = value * _P64[2] & _MASK
    return value ^ value >> 32


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    if size > 8:
        low = _word(data, 0) ^ _word(_SECRET, 24) ^ _word(_SECRET, 32)
        high = _word(data, size - 8) ^ _word(_SECRET, 40) ^ _word(_SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche(size + swapped + high + _fold(low, high))
    if size >= 4:
        first = int.from_bytes(data[:4], "little")
        last = int.from_bytes(data[-4:], "little")
        value = last + (first << 32) ^ _word(_SECRET, 8) ^ _word(_SECRET, 16)
        value ^= _rotated(value, 49) ^ _rotated(value, 24)
        value = value * 0x9FB21C651E98DF25 & _MASK
        value ^= (value >> 35) + size
        value = value * 0x9FB21C651E98DF25 & _MASK
        return value ^ value >> 28
    if size:
        combined = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
        flip = int.from_bytes(_SECRET[:4], "little") ^ int.from_bytes(_SECRET[4:8], "little")
        return _avalanche_64(combined ^ flip)
    return _avalanche_64(_word(_SECRET, 56) ^ _word(_SECRET, 64))


def _up_to_128(data: bytes) -> int:
    size = len(data)
    total = size * _P64[0]
    for pair in range((size - 1) // 32, -1, -1):
        total += _mix(data, 16 * pair, 32 * pair)
        total += _mix(data, size - 16 * (pair + 1), 32 * pair + 16)
    return _avalanche(total)


def _up_to_240(data: bytes) -> int:
    size = len(data)
    total = size * _P64[0]
    total = _avalanche(total + sum(_mix(data, 16 * n, 16 * n) for n in range(8)))
    total += sum(_mix(data, 16 * n, 16 * (n - 8) + 3) for n in range(8, size // 16))
    return _avalanche(total + _mix(data, size - 16, 136 - 17))


def _long(data: bytes) -> int:
    size = len(data)
    lanes = [_P32[2], *_P64[:4], _P32[1], _P64[4], _P32[0]]
    per_block = _BLOCK // _STRIPE
    stripes = (size - 1) // _STRIPE
    for number in range(stripes):
        _accumulate(lanes, data, number * _STRIPE, number % per_block * 8)
        if number % per_block == per_block - 1:
            _scramble(lanes)
    _accumulate(lanes, data, size - _STRIPE, len(_SECRET) - _STRIPE - 7)
    total = size * _P64[0]
    for pair in range(4):
        low = lanes[2 * pair] ^ _word(_SECRET, 11 + 16 * pair)
        total += _fold(low, lanes[2 * pair + 1] ^ _word(_SECRET, 19 + 16 * pair))
    return _avalanche(total)


def _accumulate(lanes: list[int], data: bytes, at: int, secret: int) -> None:
    words = _LANES.unpack_from(data, at)
    keys = _LANES.unpack_from(_SECRET, secret)
    for number, (word, key) in enumerate(zip(words, keys, strict=True)):
        mixed = word ^ key
        lanes[number ^ 1] = lanes[number ^ 1] + word & _MASK
        lanes[number] = lanes[number] + (mixed & 0xFFFFFFFF) * (mixed >> 32) & _MASK


def _scramble(lanes: list[int]) -> None:
    keys = _LANES.unpack_from(_SECRET, len(_SECRET) - _STRIPE)
    for number, key in enumerate(keys):
        lane = lanes[number]
        lanes[number] = (lane ^ lane >> 47 ^ key) * _P32[0] & _MASK
