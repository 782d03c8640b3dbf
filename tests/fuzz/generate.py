"""Random messages of any declared class and version, and damage to their bytes."""

from __future__ import annotations

import random
from typing import Any

from flowstream.wire.batch import encode_batch
from flowstream.wire.fields import Field, Layout, WireType, layout_of

BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}
UNSIGNED = {"uint16": 16, "uint32": 32}
NAMES = (
    "a",
    "b",
    "g",
    "t",
    "consumer",
    "range",
    "",
    "no/topic",
    "é",
    "x" * 250,
    "__consumer_offsets",
)
EXTREMES = tuple(
    bytes.fromhex(text)
    for text in ("00", "7f", "80", "ff", "7fff", "8000", "7fffffff", "80000000", "ffffffff0f")
)


def message(cls: type[Any], version: int, rng: random.Random) -> Any:
    """A message that `version` can carry."""
    return _struct(layout_of(cls), version, rng)


def _struct(layout: Layout, version: int, rng: random.Random) -> Any:
    present = {f.name: _field(f, version, rng) for f in layout.fields if version in f.versions}
    return layout.cls(**present)


def _field(field: Field, version: int, rng: random.Random) -> Any:
    if version in field.nullable and rng.random() < 0.15:
        return None
    if version in field.tagged and rng.random() < 0.5:
        return field.default
    return _value(field.type, version, rng)


def _value(type: WireType[Any], version: int, rng: random.Random) -> Any:
    if type.name in BITS:
        top = 1 << BITS[type.name]
        return rng.choice((0, 0, 1, 1, 2, -1, -2, 100, top - 1, -top, rng.randrange(-top, top)))
    if type.name in UNSIGNED:
        return rng.choice((0, 1, (1 << UNSIGNED[type.name]) - 1))
    if type.name == "bool":
        return rng.random() < 0.5
    if type.name == "float64":
        return rng.choice((0.0, 1.0, -1.0, 1e300, float("inf")))
    if type.name == "uuid":
        return rng.choice((bytes(16), b"\xff" * 16, rng.randbytes(16)))
    if type.name.endswith("string"):
        return rng.choice(NAMES)
    if type.name == "records":
        return records(rng)
    if type.name == "bytes":
        return rng.randbytes(rng.choice((0, 1, 4, 127)))
    if type.name == "array":
        assert type.element is not None
        count = rng.choice((0, 1, 1, 1, 2, 3))
        return tuple(_value(type.element, version, rng) for _ in range(count))
    assert type.layout is not None
    return _struct(type.layout, version, rng)


def records(rng: random.Random) -> bytes:
    """A record batch, sound or damaged."""
    pid = rng.choice((-1, -1, 0, 1, 1000))
    raw = bytes(
        encode_batch(
            [(1_700_000_000_000, b"k", b"v" * rng.choice((0, 1, 50)), ())] * rng.randrange(1, 4),
            producer_id=pid,
            producer_epoch=-1 if pid < 0 else 0,
            base_sequence=-1 if pid < 0 else rng.randrange(3),
            transactional=pid >= 0 and rng.random() < 0.5,
        )
    )
    return raw if rng.random() < 0.6 else mutated(raw, rng)


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with bytes flipped, inserted, deleted, duplicated or made extreme."""
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        end = at + rng.randrange(1, 9)
        match rng.randrange(6):
            case 0:
                del out[at:]
            case 1:
                extreme = rng.choice(EXTREMES)
                out[at : at + len(extreme)] = extreme
            case 2:
                out[at:at] = rng.randbytes(rng.randrange(1, 5))
            case 3:
                del out[at:end]
            case 4:
                out[at:at] = out[at:end]
            case _:
                out[at : at + 1] = rng.randbytes(1)
    return bytes(out)
