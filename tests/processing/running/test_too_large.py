"""V2: what a broker refuses for good costs a unit or stops the worker; nothing goes on for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowstream as fs
from flowstream.processing.operating.letters import BadLetter
from flowstream.processing.operating.redriving import DeadLetters
from flowstream.processing.units.outputs import BATCH_OVERHEAD, OutputTopic, batch_bytes
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.errors import RefusedForGood, SettingRefused
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit

SMALL = {"max.message.bytes": "5000"}
TP = TopicPartition("t", 0)
blobs = st.none() | st.integers(0, 20_000).map(bytes)


@given(blobs, blobs, st.lists(st.tuples(st.text(max_size=9), blobs), max_size=3))
def test_the_size_of_a_record_is_that_of_its_batch(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    buffer = RecordBuffer()
    buffer.append(TP, key, value, 7, headers)
    ((batch,),) = buffer.take().values()
    size = batch_bytes(key, value, headers)
    assert size == len(batch.seal(1, 0, 0).data)
    content = len(key or b"") + len(value or b"")
    assert headers or size <= content + BATCH_OVERHEAD
    OutputTopic("t", 1, size).check(key, value, headers)
    with pytest.raises(fs.FlowstreamError, match=f"takes {size} bytes, .* takes {size - 1}: "):
        OutputTopic("t", 1, size - 1).check(key, value, headers)


async def filled(kit: Kit, words: fs.Topic[str, str], values: Iterable[str]) -> None:
    await kit.admin.create_topics([NewTopic(words.name, 1)])
    for value in values:
        await words.send(key="k", value=value)


def writing_app(
    kit: Kit, name: str, how: str, **options: Any
) -> tuple[fs.App, fs.Topic[str, str], fs.Topic[Any, str]]:
    """An app that writes large things for `x`: to a sink, by a send, or into a table."""
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1, config=SMALL)
    texts = app.Table("texts", default=str)
    blobs = app.Table("blobs", value_type=bytes)

    @app.agent(words, sink=[out], **options)
    async def write(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            large = word * (2_000_000 if word == "x" else 1)
            blobs[word] = large.encode() if how == "bytes" else b""
            texts[word] = large if how == "table" else word
            if how == "send":
                await out.send(value=large)
            else:
                yield large if how == "sink" else word

    return app, words, out


@pytest.mark.parametrize("how", ["sink", "send", "table", "bytes"])
async def test_V2_S9_an_output_that_is_too_large_fails_its_unit_alone(
    kit: Kit, name: str, how: str
) -> None:
    app, words, out = writing_app(kit, name, how, on_error="dead_letter")
    await filled(kit, words, "axb")
    await kit.run_until(app, kit.committed(app, words.name, 3))
    assert await kit.values(out.name) == [b"a", b"b"]
    (letter,) = await kit.records(app.dead_letters)
    cause = (dict(letter.headers)["flowstream.cause"] or b"").decode()
    assert letter.value == b"x"
    assert "max.message.bytes" in cause
    assert ("texts" if how == "table" else "blobs" if how == "bytes" else out.name) in cause
    assert {r.key for r in await kit.records(app.changelog("texts"))} == {b"a", b"b"}


async def test_V2_an_output_that_is_too_large_stops_by_default(kit: Kit, name: str) -> None:
    app, words, out = writing_app(kit, name, "sink")
    await filled(kit, words, "axb")
    with pytest.raises(fs.AgentFailed, match=f"offset 1: .*{out.name}.* raise the topic's max"):
        await fs.Worker(app, kit.address).run()
    assert await kit.values(out.name) == [b"a"]


async def test_V2_S11_a_dead_letter_that_is_too_large_says_what_it_lacks(
    kit: Kit, name: str
) -> None:
    """It stopped the worker, and would have again after each start, whatever on_error said."""
    app, words, out = writing_app(kit, name, "sink", on_error="dead_letter")
    await kit.admin.create_topics([NewTopic(app.dead_letters, 1, configs=SMALL)])
    await filled(kit, words, ["a", "y" * 10_000, "b"])
    await kit.run_until(app, kit.committed(app, words.name, 3))
    assert await kit.values(out.name) == [b"a", b"b"]
    (letter,) = await kit.records(app.dead_letters)
    told = {header: (value or b"").decode() for header, value in letter.headers}
    assert (letter.key, letter.value) == (b"k", None)
    assert told["flowstream.left-out"] == "the traceback, the value (10000 bytes)"
    assert (told["flowstream.topic"], told["flowstream.offset"]) == (words.name, "1")
    assert told["flowstream.cause"].startswith(f"a record for topic '{out.name}' takes")
    async with DeadLetters(kit.cluster, app.id, app.dead_letters) as dead:
        waiting = await dead.pending()
        with pytest.raises(BadLetter, match=rf"lacks the traceback, .* {words.name}-0 at offset 1"):
            await dead.redrive(waiting)
        await dead.discard(waiting)


async def test_V2_batches_are_no_larger_than_their_topic_takes(kit: Kit, name: str) -> None:
    app, words, out = writing_app(kit, name, "sink")
    await kit.admin.create_topics([NewTopic(words.name, 1)])
    values = [str(n) * 200 for n in range(100)]
    await asyncio.gather(*(words.send(key="k", value=value) for value in values))
    await kit.run_until(app, kit.committed(app, words.name, 100))
    assert sorted(await kit.values(out.name)) == sorted(value.encode() for value in values)


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_V2_records_that_are_refused_for_good_stop_the_worker(
    kit: Kit, name: str, guarantee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(self: Admin, names: Iterable[str], key: str) -> dict[str, str]:
        return {}

    monkeypatch.setattr(Admin, "topic_settings", unknown)
    app = kit.app(name, processing_guarantee=guarantee)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1, config=SMALL)

    @app.agent(words, sink=[out])
    async def write(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word * 10_000

    await filled(kit, words, "x")
    with pytest.raises(
        RefusedForGood, match=rf"{out.name}-0: MESSAGE_TOO_LARGE.*: raise the topic's max"
    ):
        await fs.Worker(app, kit.address).run()
    tp = TopicPartition(words.name, 0)
    assert await kit.admin.group_offsets(app.id) in ({}, {tp: 0})
    # No reader waits for the timeout of the transaction.
    tp = TopicPartition(out.name, 0)
    assert await kit.admin.end_offsets([tp]) == await kit.admin.end_offsets([tp], committed=True)


async def test_V2_a_session_timeout_that_the_cluster_refuses_stops_the_worker(
    kit: Kit, name: str
) -> None:
    app = kit.app(name, session_timeout=7200.0)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(SettingRefused, match=r"session_timeout.*group\.max\.session\.timeout\.ms"):
        await fs.Worker(app, kit.address).run()
