"""What an agent sends is part of its event, also where the `await` was forgotten."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
def test_S9_a_send_that_nobody_awaits_commits_with_its_event() -> None:
    app = fs.App("forgetful")
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    others = app.topic("others", value_type=int, partitions=1)

    @app.agent(others)
    async def other(stream: fs.Stream[int]) -> None:
        async for value in stream:
            await out.send(key="other", value=value)

    @app.agent(orders)
    async def forward(stream: fs.Stream[int]) -> None:
        async for event in stream.events():
            out.send(key="topic", value=event.value)
            out.send(key="with a codec", value=event.value, value_serializer="json")
            event.send(out, key="event")
            app.send("out", key="app", value=event.value)
            other.send(value=event.value)
            other.cast(event.value)
            if event.value == 2:
                raise ValueError("what was sent of this event goes with it")

    with app.test_context() as context:
        context.topic(orders).send(1)
        found: list[Any] = [record.key for record in context.topic(out).take()]
        assert found == ["topic", "with a codec", "event", "app", "other", "other"]
        with pytest.raises(Exception, match="goes with it"):
            context.topic(orders).send(2)
        assert context.topic(out).take() == []


def test_a_send_that_nobody_awaits_outside_of_an_agent_says_that_nothing_was_sent() -> None:
    app = fs.App("forgetful")
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    told = "send to topic 'orders' .nothing is sent before the await.' was never awaited"
    with pytest.warns(RuntimeWarning, match=told):
        orders.send(value=1)


def test_a_record_is_given_by_name() -> None:
    orders = fs.App("forgetful").topic("orders", value_type=int)
    with pytest.raises(
        TypeError, match=r"topic 'orders' takes a record by name: await topic\.send"
    ):
        orders.send(1)  # type: ignore[arg-type]
