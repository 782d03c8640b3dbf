"""Records older than their topic's retention: said once per topic, while they are there."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.clock import wall_ms
from flowstream.processing.duties.retaining import DAY_MS, OldRecords
from flowstream.transport.batches import PendingBatch, RecordBuffer
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if "retention.ms" in record.getMessage()
    ]


async def test_S11_records_older_than_retention_are_warned_of_once_per_topic(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.app(name)
    bounded: dict[str, Any] = {"partitions": 2, "config": {"retention.ms": str(7 * DAY_MS)}}
    every: dict[str, Any] = {"partitions": 2, "config": {"retention.ms": "-1"}}
    old = app.topic(f"{name}-old", key_type=str, value_type=str, **bounded)
    kept = app.topic(f"{name}-kept", key_type=str, value_type=str, **every)
    compacted = app.topic(
        f"{name}-compacted", key_type=str, value_type=str, partitions=2,
        config={"retention.ms": "1000", "cleanup.policy": "compact"},
    )  # fmt: skip
    out = app.topic(
        f"{name}-out", key_type=str, value_type=str, partitions=1,
        config={"retention.ms": str(2 * DAY_MS)},
    )  # fmt: skip

    @app.agent(old, kept, compacted, sink=[out])
    async def copy(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream.group_by(str, name="again"):
            yield value

    await kit.create(app)
    # By the worker's clock they are old; by the broker's they are not, so that it deletes none.
    with caplog.at_level(logging.WARNING, "flowstream.worker"):
        async with kit.running(app, clock=lambda: wall_ms() + 8 * DAY_MS):
            for number in range(10):
                for topic in (old, kept, compacted):
                    await topic.send(key=str(number), value=str(number))
                await kit.until(kit.count(out.name, 3 * number + 3))
    assert warned(caplog) == [
        f"topic {old.name} holds records older than it keeps them (retention.ms, 7 days): the"
        " broker may delete them before they are read. For events of the past: `flowstream configs"
        f" alter topic {old.name} --set retention.ms=-1`",
        f"results for topic {out.name} are older than it keeps them (retention.ms, 2 days), as"
        " their events are: the broker may delete them at once. To keep them: `flowstream configs"
        f" alter topic {out.name} --set retention.ms=-1`",
    ]


async def test_S11_a_topic_of_our_own_that_retention_empties_is_warned_of_at_the_start(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for _ in stream.group_by(str):
            pass

    between = f"{name}-count-repartition"
    await kit.admin.create_topics([NewTopic(between, 1, 1, {"retention.ms": "60000"})])
    with caplog.at_level(logging.WARNING, "flowstream.worker"):
        async with fs.Worker(app, kit.address).running():
            pass
    (told,) = warned(caplog)
    assert told.startswith(f"topic {between} is emptied behind this app, and by the broker after")
    assert told.endswith(f"alter topic {between} --set retention.ms=-1`")


def test_a_plan_that_is_made_anew_warns_of_no_topic_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = OldRecords()
    records.bound({"a": 1000, "ours": 1000}, ["ours"])
    records.met("a", 5_000, 6_000)
    records.met("b", 0, 6_000)
    assert [told.split()[1] for told in warned(caplog)] == ["ours"]
    for _ in range(2):
        records.met("a", 4_999, 6_000)
        records.bound({"a": 1000, "ours": 1000}, ["ours"])
    assert [told.split()[1] for told in warned(caplog)] == ["ours", "a"]


def test_a_record_without_a_time_is_not_taken_for_one_of_1969(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = OldRecords()
    records.bound({"a": 1000}, [])
    records.met("a", -1, 6_000)
    assert warned(caplog) == []
    records.met("a", 0, 6_000)
    assert len(warned(caplog)) == 1, "and the topic may still be warned of"


def batches(topic: str, *times: int) -> dict[TopicPartition, list[PendingBatch]]:
    buffer = RecordBuffer()
    for at_ms in times:
        buffer.append(TopicPartition(topic, 0), None, b"", at_ms)
    return buffer.take()


def test_S11_results_that_are_not_too_old_or_have_no_time_are_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = OldRecords()
    records.bound({"a": 1000, "read": 1000}, [], ["a", "unbounded"])
    for topic in ("read", "unbounded", "unknown"):
        records.sent(batches(topic, 0), 6_000)
    records.sent(batches("a", 5_000), 6_000)
    records.sent(batches("a", -1), 6_000)
    assert warned(caplog) == []
    for _ in range(2):
        records.sent(batches("a", 4_999, 6_000), 6_000)
        records.bound({"a": 1000, "read": 1000}, [], ["a"])
    assert len(warned(caplog)) == 1
    records.met("a", 0, 6_000)
    assert len(warned(caplog)) == 1, "one line per topic"
