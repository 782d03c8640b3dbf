"""The watchdog names who holds the loop or an event (V2)."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

import flowstream as fs
from flowstream.processing.watching.watchdog import Watchdog
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit


async def test_V2_an_agent_that_never_yields_is_named(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.app(name, stall_warning=0.3)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)
    noticed = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "never yields" in record.getMessage():
                noticed.set()

    @app.agent(words)
    async def greedy(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            # Holds the event loop, but not for ever: until the thread outside has noticed.
            assert noticed.wait(20)

    await kit.admin.create_topics([NewTopic(f"{name}-in", 1)])
    listener = Listener()
    logging.getLogger("flowstream.health").addHandler(listener)
    try:
        async with kit.running(app) as worker:
            await words.send(value="go")
            await kit.until(kit.committed(app, f"{name}-in", 1))
            await asyncio.sleep(0)
    finally:
        logging.getLogger("flowstream.health").removeHandler(listener)
    message = next(r.getMessage() for r in caplog.records if "never yields" in r.getMessage())
    assert "agent 'greedy' never yields" in message
    assert "the event loop has not run for" in message
    assert worker.counts.events == 1


async def test_V2_an_event_that_does_not_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    units = [("agent 'slow' on t-0", 8)]
    watchdog = Watchdog({}, lambda: units, 1.0)
    watchdog._look_at_units(0)
    watchdog._look_at_units(999)
    assert watchdog.warnings() == []
    watchdog._look_at_units(1_000)
    assert watchdog.warnings() == ["agent 'slow' on t-0 has not finished its event"]
    assert "busy with the event before offset 8" in caplog.text
    units[:] = [("agent 'slow' on t-0", 9)]
    watchdog._look_at_units(1_001)
    assert watchdog.warnings() == []
