"""One chunk of a campaign: a seed decides all its inputs."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from typing import Any

from flowstream.broker.handlers import ROUTES
from flowstream.errors import WireError
from flowstream.wire.api import API, request_class, response_class
from flowstream.wire.batch import decode_records, iter_batches
from flowstream.wire.fields import layout_of
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.schema import decode, encode
from tests.broker.machine import Machine, batch
from tests.fuzz.generate import message, mutated, records

CHUNK = 1000
"""Inputs per seed."""
VARIANTS = 20
"""Damaged encodings of one message: making the message costs more than damaging it."""
SERVED = [
    (request_class(key), version)
    for key, route in ROUTES.items()
    for version in range(route.oldest, route.newest + 1)
    if version in layout_of(request_class(key)).versions
]
DECLARED = [
    (cls, version)
    for api in API.values()
    for cls in (request_class(api.key), response_class(api.key))
    for version in layout_of(cls).versions
]


def wire(seed: int, count: int = CHUNK) -> Counter[str]:
    """Decode `count` damaged messages and batches: a value or WireError."""
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    while seen.total() < count:
        cls, version = rng.choice(DECLARED)
        raw = encode(message(cls, version, rng), version)
        for _ in range(min(VARIANTS, count - seen.total())):
            if rng.random() < 0.1:
                seen[_outcome_of_records(records(rng))] += 1
            else:
                seen[_outcome(cls, version, mutated(raw, rng))] += 1
    return seen


def _outcome(cls: type[Any], version: int, raw: bytes) -> str:
    try:
        decode(cls, raw, version)
    except WireError:
        return "refused"
    except Exception as error:
        error.add_note(f"{cls.__name__} v{version}: {raw.hex()}")
        raise
    return "decoded"


def _outcome_of_records(raw: bytes) -> str:
    try:
        for position, header in iter_batches(memoryview(raw)):
            decode_records(memoryview(raw)[position : position + header.size])
    except WireError:
        return "refused"
    except Exception as error:
        error.add_note(f"records: {raw.hex()}")
        raise
    return "decoded"


def node(seed: int, count: int = CHUNK) -> Counter[str]:
    """Ask one node `count` odd requests; an innocent client must still be served."""
    rng = random.Random(seed)
    machine = Machine(seed)
    seen: Counter[str] = Counter()
    for _ in range(count):
        cls, version = rng.choice(SERVED)
        seen[_ask(machine, cls, version, rng)] += 1
        if rng.random() < 0.01:
            machine.wait(rng.choice((1, 1000, 60_000)))
        if rng.random() < 0.002:
            machine.settle()
            machine.crash()
    machine.replies.clear()
    _innocent(machine)
    return seen


def _ask(machine: Machine, cls: type[Any], version: int, rng: random.Random) -> str:
    body = message(cls, version, rng)
    try:
        if rng.random() < 0.2:
            body = decode(cls, mutated(encode(body, version), rng), version)
        asked = machine.post(body, version)
        machine.settle()
        if asked in machine.replies:
            machine.answer(asked)
            return "answered"
    except WireError:
        return "refused"
    except Exception as error:
        error.add_note(f"v{version} {body!r}"[:3000])
        raise
    return "waiting"


def _innocent(machine: Machine) -> None:
    """A client that did nothing wrong writes and reads back, before and after a crash."""
    topic = CreatableTopic(name="innocent", num_partitions=1, replication_factor=1)
    made = machine.ask(CreateTopicsRequest(topics=(topic,), timeout_ms=1000), 5)
    assert made.topics[0].error_code == 0, made
    assert machine.produce("innocent", 0, batch(b"1")).error_code == 0
    assert machine.read("innocent") == [b"1"]
    machine.crash()
    assert machine.read("innocent") == [b"1"]


LEVELS = {"wire": wire, "node": node}


def run(task: tuple[str, int]) -> tuple[str, int, Counter[str], str | None]:
    """One chunk: what came of its inputs, and the failure that ended it."""
    level, seed = task
    try:
        return level, seed, LEVELS[level](seed), None
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        return level, seed, Counter(), traceback.format_exc()
