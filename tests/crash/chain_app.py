"""The app of the stream checker: per key a count, a sum, the last sequence and a hash chain.

State and output carry one random nonce per event, so that a unit torn in two shows (S9).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import flowstream as fs
from tests.checkers.stream import chain

PARTITIONS = 4

app = fs.App("chain")


class Event(fs.Record):
    """One input."""

    sequence: int
    id: str


class Kept(fs.Record):
    """The state of a key, and the output for an event."""

    id: str = ""
    count: int = 0
    total: int = 0
    last: int = 0
    chain: str = ""
    nonce: str = ""


events = app.topic("events", key_type=str, value_type=Event, partitions=PARTITIONS)
answers = app.topic("answers", key_type=str, value_type=Kept, partitions=PARTITIONS)
states = app.Table("states", key_type=str, value_type=Kept, default=Kept)


@app.agent(events, sink=[answers])
async def link(stream: fs.Stream[Event]) -> AsyncIterator[Kept]:
    """Add each event to its key's chain."""
    async for key, event in stream.items():
        kept = states[key]
        after = Kept(
            id=event.id,
            count=kept.count + 1,
            total=kept.total + event.sequence,
            last=event.sequence,
            chain=chain(kept.chain, event.id),
            nonce=os.urandom(8).hex(),
        )
        states[key] = after
        yield after
