"""The watchdog names who holds the loop or an event (V2)."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

import flowstream as fs
from flowstream.processing.watching.watchdog import Busy, Watchdog
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit
from tests.processing.rig import Rig


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
    where = f"agent 'greedy' on {name}-in-0"
    assert message.startswith(f"{where} never yields, with the event at offset 0: ")
    assert "the event loop has not run for" in message
    assert worker.counts.events == 1


async def test_V2_an_event_that_does_not_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    units = [Busy("agent 'slow' on t-0", 8, "the event at offset 7")]
    watchdog = Watchdog({}, lambda: units, 1.0, 10.0)
    watchdog._look_at_units(0)
    watchdog._look_at_units(999)
    assert watchdog.warnings() == []
    watchdog._look_at_units(1_000)
    assert watchdog.warnings() == ["agent 'slow' on t-0 has not finished the event at offset 7"]
    assert "busy with the event at offset 7 for 1.0 s" in caplog.text
    units[:] = [Busy("agent 'slow' on t-0", 9, "the event at offset 8")]
    watchdog._look_at_units(1_001)
    assert watchdog.warnings() == []


@pytest.mark.parametrize(
    ("stall_warning", "silent_ms", "told"),
    [
        (5.0, 4_999, None),
        (5.0, 5_000, "the event loop runs again, after 5.0 s"),
        (5.0, 10_000, "longer than session_timeout (10 s): the group takes a worker"),
        (60.0, 10_000, "longer than session_timeout (10 s): the group takes a worker"),
    ],
)
async def test_V2_a_loop_that_was_blocked_for_a_session_is_told_as_the_cause_of_what_follows(
    caplog: pytest.LogCaptureFixture, stall_warning: float, silent_ms: int, told: str | None
) -> None:
    watchdog = Watchdog({}, list, stall_warning, 10.0)
    watchdog._pulse_ms = 0
    watchdog._look_back(silent_ms)
    assert bool(caplog.messages) is (told is not None)
    assert (told or "") in caplog.text


async def test_V2_one_due_row_after_another_is_no_event_that_does_not_end() -> None:
    app = fs.App("rows")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    began, go = asyncio.Queue[str](), asyncio.Semaphore(0)

    @app.agent(words)
    async def slow(stream: fs.Stream[str]) -> None:
        async for window in stream.tumbling(10).count():
            began.put_nowait(window.key)
            await go.acquire()

    rig = Rig(app)
    await rig.open()
    for key in (b"a", b"b", b"c"):
        rig.put("words", key, b"x", at_ms=1_000)
    rig.put("words", b"last", b"x", at_ms=100_000)
    rig.deliver()
    units = set()
    for _ in range(3):
        await rig.settle()
        rig.task.tick()
        await asyncio.wait_for(began.get(), 10)
        (stuck,) = rig.task.stuck()
        units.add((stuck.label, stuck.busy_unit))
        go.release()
    assert len(units) == 3, "the watchdog tells them apart"
    await rig.crash()


async def test_V2_a_handler_that_a_rebalance_waits_for_is_named(kit: Kit, name: str) -> None:
    app = kit.app(name, stall_warning=0.3)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)
    may_end = asyncio.Event()

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @app.on_partitions_assigned.connect
    async def prepare(app: fs.App, assigned: object) -> None:
        await may_end.wait()

    await kit.create(app)
    async with kit.running(app) as worker:
        await kit.sees(lambda: bool(worker.warnings()))
        assert worker.warnings() == [
            "a rebalance that waits for on_partitions_assigned has not finished its handler"
            " 'prepare'"
        ]
        may_end.set()
        await kit.sees(lambda: not worker.warnings() and bool(worker.tasks))


async def test_V2_the_watchdog_lives_on_when_the_loop_changes_what_it_looks_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told, looks = threading.Event(), [0]

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "has not run" in record.getMessage():
                told.set()

    def changing() -> list[Busy]:
        if threading.current_thread() is threading.main_thread():
            return []
        looks[0] += 1
        raise RuntimeError("dictionary changed size during iteration")

    watchdog, listener = Watchdog({}, changing, 0.3, 20.0), Listener()
    logging.getLogger("flowstream.health").addHandler(listener)
    watchdog.start()
    try:
        for number in range(1, 3):
            assert told.wait(20)  # holds the loop
            assert looks[0] == number
            told.clear()
            while watchdog.warnings():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        watchdog.stop()
        logging.getLogger("flowstream.health").removeHandler(listener)
