"""Records that only a foreign producer writes: a worker reads them, or says which it cannot."""

from __future__ import annotations

import asyncio

import pytest

import flowstream as fs
from flowstream.transport.errors import UnreadableRecords
from flowstream.transport.types import TopicPartition
from tests.processing.conftest import Kit
from tests.transport.batches_by_hand import LATIN_READ, latin, lying, misplaced, store


async def test_S11_a_header_key_that_is_no_UTF8_is_an_event_as_any(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", value_type=bytes, partitions=1)
    seen: list[list[str]] = []

    @app.agent(words)
    async def see(stream: fs.Stream[bytes]) -> None:
        async for event in stream.events():
            seen.append([key for key, _ in event.headers])

    await kit.create(app)
    await store(kit.cluster, TopicPartition(words.name, 0), latin())
    async with kit.running(app):
        await kit.sees(lambda: len(seen) == 3)
    assert seen == [[], [LATIN_READ], []]


@pytest.mark.parametrize("batch", [lying(), misplaced(0, 1_000_000)], ids=["length", "offset"])
async def test_V2_records_that_nobody_can_read_stop_the_worker_with_their_place(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch, batch: bytes
) -> None:
    """It joined its group anew five times a second, for ever, and called itself healthy; or went to
    where the records said they were, and the next one began there.
    """
    app = kit.app(name)
    words = app.topic(f"{name}-in", value_type=bytes, partitions=1)

    @app.agent(words, on_error="skip")
    async def see(stream: fs.Stream[bytes]) -> None:
        async for _ in stream:
            pass

    monkeypatch.setattr("flowstream.transport.refusals.FIRST_PAUSE_S", 0.01)
    await kit.create(app)
    await store(kit.cluster, TopicPartition(words.name, 0), batch)
    with pytest.raises(UnreadableRecords, match=f"{words.name}-0 cannot be read from offset 0 on"):
        async with asyncio.timeout(20):
            await fs.Worker(app, kit.address).run()
