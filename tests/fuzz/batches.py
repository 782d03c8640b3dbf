"""Record batches that lie: every header field changed alone under a right CRC, bodies that are not
what their header says, and bodies that expand to far more than they are (bombs).
"""

from __future__ import annotations

import random
import struct
from functools import cache

from flowstream.wire.batch import encode_batch
from flowstream.wire.batch_header import HEADER_SIZE, seal
from flowstream.wire.compression import GZIP, LZ4, SNAPPY, ZSTD, compress

TIME = 1_700_000_000_000
FIELDS = {
    "base offset": (0, ">q"),
    "length": (8, ">i"),
    "leader epoch": (12, ">i"),
    "magic": (16, ">b"),
    "attributes": (21, ">h"),
    "last offset delta": (23, ">i"),
    "base timestamp": (27, ">q"),
    "max timestamp": (35, ">q"),
    "producer id": (43, ">q"),
    "producer epoch": (51, ">h"),
    "base sequence": (53, ">i"),
    "count": (57, ">i"),
}
CODECS = (GZIP, SNAPPY, LZ4, ZSTD)
BOMB_BYTES = 20 << 20
"""What a bomb expands to: more than a batch may, from less than one may have."""
SMALLEST = b"\x0c\0\0\0\1\1\0"
"""A record without key, value and headers."""


def sound(rng: random.Random) -> bytearray:
    """A batch as a producer makes it."""
    pid = rng.choice((-1, -1, 0, 1, 1000))
    headers = rng.choice(((), (), (("h", b"x"), ("", None))))
    value = rng.choice((b"", b"v", b"v" * 50, None))
    return encode_batch(
        [(TIME, rng.choice((b"k", None)), value, headers)] * rng.randrange(1, 4),
        codec=rng.choice((0, 0, 0, 1, 2, 3, 4)),
        producer_id=pid,
        producer_epoch=-1 if pid < 0 else 0,
        base_sequence=-1 if pid < 0 else rng.randrange(3),
        transactional=pid >= 0 and rng.random() < 0.5,
    )


def lying_header(rng: random.Random) -> bytes:
    """One field changed, the CRC right."""
    batch = sound(rng)
    position, kind = FIELDS[rng.choice(tuple(FIELDS))]
    bits = 8 * struct.calcsize(kind) - 1
    extremes = (0, 1, -1, 2, 7, (1 << bits) - 1, -(1 << bits))
    value = rng.choice((*extremes, rng.randrange(-(1 << bits), 1 << bits)))
    struct.pack_into(kind, batch, position, value)
    return sealed(batch)


def lying_body(rng: random.Random) -> bytes:
    """Bytes of the body changed, cut or made up, the CRC and the length right."""
    batch = sound(rng)
    body = batch[HEADER_SIZE:]
    match rng.randrange(4):
        case 0:
            del body[rng.randrange(len(body) + 1) :]
        case 1:
            body = bytearray(rng.randbytes(rng.randrange(60)))
        case 2:
            body += rng.choice((b"\0", b"\x80" * 11, SMALLEST * 3))
        case _:
            at = rng.randrange(len(body)) if body else 0
            body[at : at + 1] = rng.choice((b"\xff", b"\x80", b"\1", rng.randbytes(1)))
    return with_body(batch, bytes(body))


def bomb(rng: random.Random) -> bytes:
    """A small batch of millions of records, or of one huge one, in any codec."""
    codec = rng.choice(CODECS)
    many = rng.random() < 0.7
    packed = packed_bomb(codec, SMALLEST if many else b"\0")
    count = rng.choice((BOMB_BYTES // len(SMALLEST), 1, 100_000)) if many else 1
    batch = encode_batch([(TIME, b"k", b"", ())], codec=codec)
    struct.pack_into(">i", batch, 23, count - 1)
    struct.pack_into(">i", batch, 57, count)
    stamp = rng.choice((TIME, TIME, 1 << 62, 0))
    struct.pack_into(">qq", batch, 27, stamp, stamp)
    return with_body(batch, packed)


@cache
def packed_bomb(codec: int, pattern: bytes) -> bytes:
    """`pattern` over and over, compressed."""
    return compress(codec, pattern * (BOMB_BYTES // len(pattern)))


def with_body(batch: bytearray, body: bytes) -> bytes:
    """The batch with another body, its length and CRC right."""
    out = batch[:HEADER_SIZE] + body
    struct.pack_into(">i", out, 8, len(out) - 12)
    return sealed(out)


def sealed(batch: bytearray) -> bytes:
    """The batch with the CRC of what it holds."""
    seal(batch, 0, len(batch))
    return bytes(batch)
