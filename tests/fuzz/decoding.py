"""Level `wire`: damaged messages, frames and batches against the decoder. Each gives a value or
WireError, soon and in bounded memory, and what was decoded can be encoded again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from flowstream.errors import WireError
from flowstream.wire.api import API, request_class, response_class
from flowstream.wire.batch import decode_records, iter_batches
from flowstream.wire.compression import decompress
from flowstream.wire.fields import layout_of
from flowstream.wire.frame import decode_request, encode_request
from flowstream.wire.schema import decode, decoder, encode, encoder
from tests.fuzz.batches import BOMB_BYTES, CODECS, packed_bomb
from tests.fuzz.generate import message, mutated, records
from tests.fuzz.watch import Finding, Watch

VARIANTS = 40
"""Damaged encodings of one message: making the message costs more than damaging it."""
DECLARED = [
    (api.key, cls, version)
    for api in API.values()
    for cls in (request_class(api.key), response_class(api.key))
    for version in layout_of(cls).versions
]
EXPANDED_MAX = 1 << 20
"""What a batch may expand to here."""
DECODED = 40
"""Memory for each byte of an expanded body: the smallest record is 7 bytes, a decoded one 250."""


def wire(seed: int, count: int, watch: Watch) -> Counter[str]:
    """Decode `count` damaged messages and batches."""
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    for codec in CODECS:  # made by now, which no input pays
        packed_bomb(codec, b"\0")
    while seen.total() < count:
        key, cls, version = rng.choice(DECLARED)
        decoder(cls, version), encoder(cls, version)  # compiled by now, which no input pays
        body = message(cls, version, rng)
        raw = encode(body, version)
        framed = cls is request_class(key) and rng.random() < 0.3
        if framed:
            raw = b"".join(encode_request(key, version, 7, "fuzz", body))[4:]
        for _ in range(min(VARIANTS, count - seen.total())):
            seen[_one(key, cls, version, raw, framed, rng, watch)] += 1
    return seen


def _one(
    key: int,
    cls: type[Any],
    version: int,
    raw: bytes,
    framed: bool,
    rng: random.Random,
    watch: Watch,
) -> str:
    chance = rng.random()
    if chance < 0.1:
        data = records(rng)
        return _outcome("records", data, partial(_records, data), watch, EXPANDED_MAX * DECODED)
    if chance < 0.101:
        codec = rng.choice(CODECS)
        data = packed_bomb(codec, b"\0")
        if rng.random() < 0.5:
            data = mutated(data, rng)
        limit = rng.choice((EXPANDED_MAX, BOMB_BYTES // 2))
        return _outcome("bomb", data, partial(decompress, codec, data, limit), watch, 3 * limit)
    data = mutated(raw, rng)
    if framed:
        return _outcome(f"frame of API {key} v{version}", data, partial(_frame, data), watch)
    name = f"{cls.__name__} v{version}"
    again = chance > 0.9
    return _outcome(name, data, partial(_body, cls, data, version, again), watch)


def _outcome(
    what: str, data: bytes, read: Callable[[], object], watch: Watch, more: int = 0
) -> str:
    try:
        with watch.over(len(data), more=more):
            try:
                read()
            except WireError:
                return "refused"
    except Exception as error:
        error.add_note(f"{what}: {data[:2000].hex()}")
        raise
    return "decoded"


def _frame(data: bytes) -> None:
    decode_request(data)


def _body(cls: type[Any], data: bytes, version: int, again: bool) -> None:
    value = decode(cls, data, version)
    if not again:
        return
    try:
        once = encode(value, version)
        if encode(decode(cls, once, version), version) != once:
            raise Finding("encoded, decoded and encoded again it differs")
    except WireError as error:
        raise Finding("what was decoded cannot be encoded") from error


def _records(data: bytes) -> None:
    for position, header in iter_batches(memoryview(data)):
        batch = memoryview(data)[position : position + header.size]
        decode_records(batch, max_decompressed=EXPANDED_MAX)
