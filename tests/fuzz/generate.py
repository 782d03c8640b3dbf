"""Random messages of any declared class and version, and damage to their bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flowstream.wire.fields import Field, Layout, WireType, layout_of
from flowstream.wire.primitives import uvarint
from tests.fuzz.batches import bomb, lying_body, lying_header, sound

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
CONFIGS = (
    ("cleanup.policy", "compact"),
    ("cleanup.policy", "delete,compact"),
    ("compression.type", "zstd"),
    ("compression.type", "gzip"),
    ("retention.ms", "1000"),
    ("retention.bytes", "1"),
    ("segment.ms", "100"),
    ("max.message.bytes", "200"),
    ("message.timestamp.type", "LogAppendTime"),
    ("message.timestamp.before.max.ms", "1000"),
    ("delete.retention.ms", "0"),
    ("consumer.session.timeout.ms", "50000"),
)
"""Settings of topics and groups that change what is done with records."""
DIGITS = "9" * 4_400
"""A number that Python refuses to read."""
PLAUSIBLE: dict[str, tuple[int, ...] | tuple[str, ...]] = {
    "acks": (-1, 1, 0),
    "fetch_offset": (0, 1, 5),
    "group_id": ("g", "g", "h"),
    "group_instance_id": ("i",),
    "index": (0, 1),
    "isolation_level": (0, 1),
    "key_type": (0, 1),
    "max_bytes": (1 << 20,),
    "max_wait_ms": (0, 100, 500),
    "member_epoch": (0, 1, 2, -1),
    "member_id": ("", "m"),
    "min_bytes": (1, 0, 1 << 20),
    "name": ("a", "b", "t", "range"),
    "partition": (0, 1),
    "partition_index": (0, 1),
    "partition_max_bytes": (1 << 20,),
    "protocol_type": ("consumer",),
    "rebalance_timeout_ms": (1, 60_000),
    "resource_name": ("a", "b", "g", "0", DIGITS),
    "resource_type": (2, 4, 8, 32),
    "session_epoch": (0, 1, 2, -1),
    "session_id": (0,),
    "session_timeout_ms": (6000, 45_000),
    "topic": ("a", "b", "t"),
    "transaction_timeout_ms": (1000, 60_000),
    "transactional_id": ("t", "t", "u"),
}
"""What clients say in fields of these names: most chance values are refused at the door."""
HUGE = "x" * 32_767
"""The longest string that there may be."""
EXTREMES = tuple(
    bytes.fromhex(text)
    for text in ("00", "7f", "80", "ff", "7fff", "8000", "7fffffff", "80000000", "ffffffff0f")
)
COUNTS = (b"\x7f\xff\xff\xff", b"\x00\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff\x0f")
REMEMBERED = 6
"""Values of each name and type that are kept of what a node answered."""
MEMBER_ID_REQUIRED = 79
LEARNED = frozenset({"string", "uuid", "int64", "int32", "int16"})
DULL = range(300, 100_000)
"""Ports and such: as a number of partitions they would only take time."""
LONG = b"\x00" * 3000
"""Where a count or a length may find something to read."""


@dataclass
class Known:
    """Values that mean something to the node that is asked, because it answered them (member ids,
    topic ids, producer ids, sessions): by the name of their field and by type.
    """

    values: dict[str, list[Any]] = field(default_factory=dict)

    def learn(self, answer: Any, rng: random.Random) -> None:
        """Remember what an answer holds; a refusal only repeats what was asked."""
        if getattr(answer, "error_code", 0) not in (0, MEMBER_ID_REQUIRED):
            return
        for each in layout_of(type(answer)).fields:
            self._learn(each.name, each.type, getattr(answer, each.name), rng)

    def _learn(self, name: str, type: WireType[Any], value: Any, rng: random.Random) -> None:
        if value is None:
            return
        if type.layout is not None:
            self.learn(value, rng)
        elif type.element is not None:
            for each in value[:3]:
                self._learn(name, type.element, each, rng)
        elif (
            type.name in LEARNED
            and value not in (0, -1)
            and not (isinstance(value, int) and value in DULL)
        ):
            for key in (name, type.name):
                kept = self.values.setdefault(key, [])
                if len(kept) < REMEMBERED:
                    kept.append(value)
                else:
                    kept[rng.randrange(REMEMBERED)] = value

    def pick(self, name: str, type: WireType[Any], rng: random.Random) -> Any:
        """One of them, or None."""
        kept = self.values.get(name)
        if kept is None or type.name not in LEARNED or rng.random() < 0.3:
            kept = self.values.get(type.name)
        return rng.choice(kept) if kept else None


NOTHING = Known()


def message(cls: type[Any], version: int, rng: random.Random, known: Known = NOTHING) -> Any:
    """A message that `version` can carry."""
    return _struct(layout_of(cls), version, rng, known)


def _struct(layout: Layout, version: int, rng: random.Random, known: Known) -> Any:
    present = {
        f.name: _field(f, version, rng, known) for f in layout.fields if version in f.versions
    }
    if "name" in present and "value" in present and rng.random() < 0.7:
        present["name"], present["value"] = rng.choice(CONFIGS)
    return layout.cls(**present)


def _field(declared: Field, version: int, rng: random.Random, known: Known) -> Any:
    if version in declared.nullable and rng.random() < 0.15:
        return None
    if version in declared.tagged and rng.random() < 0.5:
        return declared.default
    return _value(declared.name, declared.type, version, rng, known)


def _value(name: str, type: WireType[Any], version: int, rng: random.Random, known: Known) -> Any:
    if known.values and rng.random() < 0.5:
        found = known.pick(name, type, rng)
        if found is not None:
            return found
    often = PLAUSIBLE.get(name) if known.values and rng.random() < 0.7 else None
    if often and isinstance(often[0], str) == (type.name == "string"):
        return rng.choice(often)
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
        return HUGE if rng.random() < 0.0005 else rng.choice(NAMES)
    if type.name == "records":
        return records(rng)
    if type.name == "bytes":
        return rng.randbytes(rng.choice((0, 1, 4, 127)))
    if type.name == "array":
        assert type.element is not None
        count = rng.choice((0, 1, 1, 1, 2, 3))
        return tuple(_value(name, type.element, version, rng, known) for _ in range(count))
    assert type.layout is not None
    return _struct(type.layout, version, rng, known)


def records(rng: random.Random) -> bytes:
    """A record batch: sound, damaged, lying, or a bomb."""
    chance = rng.random()
    if chance < 0.5:
        return bytes(sound(rng))
    if chance < 0.65:
        return mutated(bytes(sound(rng)), rng)
    if chance < 0.85:
        return lying_header(rng)
    if chance < 0.995:
        return lying_body(rng)
    return bomb(rng)


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with bytes flipped, inserted, deleted, duplicated, made extreme or made large."""
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        damage = rng.choice(DAMAGE)
        damage(out, rng.randrange(len(out) + 1), rng)
    return bytes(out)


def _cut(out: bytearray, at: int, rng: random.Random) -> None:
    del out[at:]


def _extreme(out: bytearray, at: int, rng: random.Random) -> None:
    extreme = rng.choice(EXTREMES)
    out[at : at + len(extreme)] = extreme


def _insert(out: bytearray, at: int, rng: random.Random) -> None:
    out[at:at] = rng.randbytes(rng.randrange(1, 5))


def _delete(out: bytearray, at: int, rng: random.Random) -> None:
    del out[at : at + rng.randrange(1, 9)]


def _double(out: bytearray, at: int, rng: random.Random) -> None:
    out[at:at] = out[at : at + rng.randrange(1, 9)]


def _change(out: bytearray, at: int, rng: random.Random) -> None:
    out[at : at + 1] = rng.randbytes(1)


def _claim(out: bytearray, at: int, rng: random.Random) -> None:
    """A giant count, now and then with something behind it."""
    count = rng.choice(COUNTS)
    out[at : at + len(count)] = count
    if rng.random() < 0.1:
        out += LONG


def _tags(out: bytearray, at: int, rng: random.Random) -> None:
    """Tagged fields that nobody knows, in place of an empty section or wherever it is: ascending
    ones, equal ones, too many, ones that hold tagged fields themselves.
    """
    inner = uvarint(1) + uvarint(7) + uvarint(2) + b"\1\0"
    many = rng.choice((1, 2, 50))
    step = rng.choice((1, 1, 1, 0))
    fields = [uvarint(100 + step * n) + uvarint(len(inner)) + inner for n in range(many)]
    out[at : at + 1] = uvarint(many + (rng.random() < 0.2)) + b"".join(fields)


def _swell(out: bytearray, at: int, rng: random.Random) -> None:
    """A string longer than any may be, in either form."""
    size = rng.choice((32_767, 32_768, 70_000))
    head = rng.choice((uvarint(size + 1), (size & 0xFFFF).to_bytes(2, "big")))
    out[at:at] = head + b"x" * size


Damage = Callable[[bytearray, int, random.Random], None]
COMMON: tuple[Damage, ...] = (_cut, _extreme, _insert, _delete, _double, _change, _claim, _tags)
DAMAGE: tuple[Damage, ...] = 12 * COMMON + (_swell,)
