"""The four codecs of record batches, in the framings that Kafka's clients read and write.

Decompression writes into a buffer that never exceeds the caller's limit, so that a bomb costs its
limit and no more (X3). Knows bytes only, no batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cramjam

from flowstream.errors import WireError
from flowstream.wire.primitives import Buffer

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
"""The codec in the low three bits of a batch's attributes."""

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_LZ4_LEVEL = 9
"""Stands for the fast compressor, in Kafka too; every other level is one of the thorough one."""
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + b"\0\0\0\1\0\0\0\1"
_XERIAL_BLOCK = 32 * 1024
# Magic, version 1 with independent blocks and no checksums, blocks up to 64 KiB, checksum of these
# two bytes. Java's reader refuses linked blocks, so the frame is put together here.
_LZ4_HEADER = b"\x04\x22\x4d\x18\x60\x40\x82"
_LZ4_BLOCK = 64 * 1024
_LZ4_PLAIN = 0x80000000
_FIRST_GUESS = 4
"""The output is first guessed to be this many times the input."""
_SNAPPY_RATIO = 64
"""More than snappy can expand: a copy of 64 bytes takes two."""


def compress(codec: int, data: Buffer, level: int | None = None) -> bytes:
    """`data` compressed with `codec` at Kafka's `level` (KIP-390), the codec's default when None.
    Raises WireError for a codec that Kafka does not have.
    """
    if codec == NONE:
        return bytes(data)
    if codec == GZIP:
        at = _GZIP_LEVEL if level is None or level < 0 else level
        return bytes(cramjam.gzip.compress(data, level=at))
    if codec == SNAPPY:
        return _compress_xerial(memoryview(data))
    if codec == LZ4:
        return _compress_lz4(memoryview(data), _LZ4_LEVEL if level is None else level)
    if codec == ZSTD:
        return bytes(cramjam.zstd.compress(data, level=_ZSTD_LEVEL if level is None else level))
    raise WireError(f"unknown compression codec {codec}")


def decompress(codec: int, data: Buffer, limit: int) -> bytes:
    """The inverse of `compress`. Raises WireError for anything malformed or above `limit` bytes."""
    try:
        if codec == NONE:
            return _bounded(bytes(data), limit)
        if codec == SNAPPY:
            return _decompress_snappy(memoryview(data), limit)
        if codec in _INTO:
            return _grow(codec, data, limit)
    except cramjam.DecompressionError as error:
        raise WireError(f"codec {codec}: {error}, or more than {limit} bytes") from error
    raise WireError(f"unknown compression codec {codec}")


_INTO: dict[int, Callable[[Buffer, bytearray], int]] = {
    GZIP: cramjam.gzip.decompress_into,
    LZ4: cramjam.lz4.decompress_into,
    ZSTD: cramjam.zstd.decompress_into,
}


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise WireError(f"{len(data)} bytes where at most {limit} are allowed")
    return data


def _grow(codec: int, data: Buffer, limit: int) -> bytes:
    """Decompress into larger and larger buffers: the size that the input claims may be a lie."""
    size = min(limit, max(4096, len(data) * _FIRST_GUESS))
    while True:
        output = bytearray(size)
        try:
            written = _INTO[codec](data, output)
        except cramjam.DecompressionError as error:
            if size >= limit or str(error) != _overflow_words(codec):
                raise
            size = min(limit, size * 4)
            continue
        return bytes(memoryview(output)[:written])


@cache
def _overflow_words(codec: int) -> str:
    """How the library says that the output does not fit: it has one exception for everything, and
    malformed input must not be tried again in a larger buffer.
    """
    try:
        _INTO[codec](compress(codec, bytes(64)), bytearray(1))
    except cramjam.DecompressionError as error:
        return str(error)
    raise AssertionError("64 bytes fit into one")


def _compress_xerial(data: memoryview) -> bytes:
    out = [_XERIAL_HEADER]
    for start in range(0, len(data), _XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK]))
        out += (len(block).to_bytes(4, "big"), block)
    return b"".join(out)


def _decompress_snappy(data: memoryview, limit: int) -> bytes:
    """Java and librdkafka write xerial blocks; some clients write one plain block, and Java reads
    both.
    """
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return _snappy_block(data, limit)
    out = []
    position = len(_XERIAL_HEADER)
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        position += 4
        if size > len(data) - position:
            raise WireError("a snappy block reaches beyond the end")
        out.append(_snappy_block(data[position : position + size], limit))
        limit -= len(out[-1])
        position += size
    return b"".join(out)


def _snappy_block(data: memoryview, limit: int) -> bytes:
    size = cramjam.snappy.decompress_raw_len(data)
    if size > limit or size > len(data) * _SNAPPY_RATIO:
        raise WireError(f"a snappy block claims {size} bytes where at most {limit} are allowed")
    return bytes(cramjam.snappy.decompress_raw(data))


def _lz4_block(plain: memoryview, level: int) -> Buffer:
    block = cramjam.lz4.compress_block
    if level == _LZ4_LEVEL:
        return memoryview(block(plain, store_size=False))
    return memoryview(block(plain, mode="high_compression", compression=level, store_size=False))


def _compress_lz4(data: memoryview, level: int) -> bytes:
    out = [_LZ4_HEADER]
    for start in range(0, len(data), _LZ4_BLOCK):
        plain = data[start : start + _LZ4_BLOCK]
        block = bytes(_lz4_block(plain, level))
        if len(block) < len(plain):
            out += (len(block).to_bytes(4, "little"), block)
        else:
            out += ((len(plain) | _LZ4_PLAIN).to_bytes(4, "little"), bytes(plain))
    out.append(b"\0\0\0\0")
    return b"".join(out)
