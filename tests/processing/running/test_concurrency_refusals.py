"""What `concurrency=` cannot be, and what it cannot be combined with: refused with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from tests.processing.rig import Rig


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"concurrency": 0}, "whole number from 1 on"),
        ({"concurrency": True}, "whole number from 1 on"),
        ({"concurrency": 2, "order": "offset"}, "order is 'key'"),
        ({"isolated_partitions": False}, "Leave it out"),
    ],
)
def test_what_concurrency_cannot_be(how: dict[str, Any], told: str) -> None:
    app = fs.App("refused")
    with pytest.raises(fs.AppError, match=told):

        @app.agent(app.topic("in"), **how)
        async def work(stream: fs.Stream[Any]) -> None:
            async for _ in stream:
                pass


async def test_isolated_partitions_is_how_it_is() -> None:
    app = fs.App("isolated")

    @app.agent(app.topic("in", partitions=1), isolated_partitions=True, concurrency=2)
    async def work(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    rig = Rig(app)
    await rig.open()
    assert len(rig.task.instances["in"]) == 2
    await rig.crash()


@pytest.mark.parametrize("what", ["group_by", "windows", "dedupe"])
async def test_what_goes_by_the_order_of_events_is_refused(what: str) -> None:
    app = fs.App("refused")

    @app.agent(app.topic("in", key_type=str, value_type=str, partitions=1), concurrency=2)
    async def work(stream: fs.Stream[str]) -> None:
        made: Any = {
            "group_by": lambda: stream.group_by(str),
            "windows": lambda: stream.tumbling(1).count(),
            "dedupe": lambda: stream.dedupe(1),
        }[what]()
        async for _ in made:
            pass

    with pytest.raises(fs.AppError, match="yield to a topic"):
        await Rig(app).open()


async def test_a_topic_that_others_read_is_refused() -> None:
    app = fs.App("shared")
    inputs = app.topic("in", partitions=1)

    for number in (1, 2):

        @app.agent(inputs, concurrency=number, name=f"agent{number}")
        async def work(stream: fs.Stream[Any]) -> None:
            async for _ in stream:
                pass

    with pytest.raises(fs.AppError, match=r"'agent2' has concurrency=2 and agent 'agent1' reads"):
        await Rig(app).open()


async def test_a_windowed_table_is_refused_where_it_is_used() -> None:
    app = fs.App("windowed")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", key_type=str, value_type=int, default=int).tumbling(10)

    @app.agent(inputs, concurrency=2)
    async def work(stream: fs.Stream[str]) -> None:
        async for key, _ in stream.items():
            counts[key] += 1

    rig = Rig(app)
    await rig.open()
    rig.put("in", b"a", b"b")
    rig.deliver()
    await rig.settle()
    assert "keep the windows in an agent on that topic" in str(rig.failure)
    await rig.crash()
