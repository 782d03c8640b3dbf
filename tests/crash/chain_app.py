"""The app of the stream checker: per key a count, a sum, the last sequence and a hash chain.

State and output carry one random nonce per event, so that a unit torn in two shows (S9). The second
agent does the same with the answers of the first: re-keyed, several in a unit, failing at times.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import flowstream as fs
from tests.checkers.stream import chain

PARTITIONS = 4
REGROUPED = 3
FLAKY = 0.02
"""So often a unit of the second agent fails, before or after its work."""

LANES = int(os.environ.get("CHAIN_LANES", "1"))
"""So many events of a partition the first agent works on side by side."""

app = fs.App("chain", retry_backoff=0.01)
chance = random.Random()


class Event(fs.Record):
    """One input."""

    sequence: int
    id: str


class Kept(fs.Record):
    """The state of a key, and the output for an event."""

    key: str = ""
    id: str = ""
    count: int = 0
    total: int = 0
    last: int = 0
    chain: str = ""
    nonce: str = ""


events = app.topic("events", key_type=str, value_type=Event, partitions=PARTITIONS)
answers = app.topic("answers", key_type=str, value_type=Kept, partitions=PARTITIONS)
tallies = app.topic("tallies", key_type=str, value_type=Kept, partitions=PARTITIONS)
states = app.Table("states", key_type=str, value_type=Kept, default=Kept, partitions=PARTITIONS)
sums = app.Table("sums", key_type=str, value_type=Kept, default=Kept, partitions=REGROUPED)


def extended(kept: Kept, key: str, sequence: int, id: str) -> Kept:
    """The state of a key after one more event."""
    return Kept(
        key=key,
        id=id,
        count=kept.count + 1,
        total=kept.total + sequence,
        last=sequence,
        chain=chain(kept.chain, id),
        nonce=os.urandom(8).hex(),
    )


@app.agent(events, sink=[answers], concurrency=LANES, order="key")
async def link(stream: fs.Stream[Event]) -> AsyncIterator[Kept]:
    """Add each event to its key's chain."""
    async for key, event in stream.items():
        after = extended(states[key], key, event.sequence, event.id)
        states[key] = after
        if LANES > 1:
            await asyncio.sleep(chance.random() * 0.01)
        yield after


@app.agent(answers, on_error="retry")
async def relink(stream: fs.Stream[Kept]) -> None:
    """The same from the answers, several at a time; the pauses of its takes end some early."""
    regrouped = stream.group_by("key", name="again", key_type=str, partitions=REGROUPED)
    async for pairs in regrouped.items().take(7, within=0.02):
        may_fail()
        for key, answer in pairs:
            after = extended(sums[key], key, answer.last, answer.id)
            sums[key] = after
            await tallies.send(key=key, value=after)
        may_fail()


def may_fail() -> None:
    """An error that passes."""
    if chance.random() < FLAKY:
        raise RuntimeError("this happens")
