"""One agent under test by Faust's names, and the pytest plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

import flowstream as fs
from flowstream.testing import AppContext


def shouting() -> tuple[fs.App, fs.Agent[str]]:
    app = fs.App("shouting")
    topic = app.topic("said", key_type=str, value_type=str, partitions=1)

    @app.agent(topic)
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            yield value.upper()

    return app, shout


async def test_an_agent_yields_for_what_it_is_given() -> None:
    app, shout = shouting()
    async with shout.test_context() as agent:
        event = await agent.put("hey")
        assert agent.results[event.offset] == "HEY"
        await agent.put("you", key="k")
        assert agent.yielded == ["HEY", "YOU"]
    assert shout.sinks == ()
    with app.test_context():
        pass


async def test_an_agent_of_timers_is_tested_with_its_app() -> None:
    app = fs.App("timed")
    timers = app.Timers("due", key_type=str, value_type=str, partitions=1)

    @app.agent(timers)
    async def wake(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(fs.FlowstreamError, match="reads no topic"):
        async with wake.test_context():
            pass


def test_the_plugin_closes_what_it_opened(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import flowstream as fs

        app = fs.App("shop")
        names = app.topic("names", key_type=str, value_type=str, partitions=1)

        @app.agent(names)
        async def read(stream):
            async for _ in stream:
                pass

        kept = []

        def test_one(flowstream_context):
            context = flowstream_context(app)
            context.topic(names).send("ada")
            assert context.topic(names).values == ["ada"]
            kept.append(context)

        def test_two(flowstream_context):
            assert kept[0]._is_closed
            assert flowstream_context(app).topic(names).values == []
        """
    )
    pytester.runpytest("-p", "no:randomly", "-p", "no:asyncio").assert_outcomes(passed=2)


def test_an_open_context_is_an_app_context(
    flowstream_context: Callable[..., AppContext],
) -> None:
    app, _ = shouting()
    assert isinstance(flowstream_context(app), AppContext)
