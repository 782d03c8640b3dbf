"""An app in memory on virtual time: what a user's test sees of it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.commit import ORDER, Step
from flowstream.testing import AppContext, StillBusy
from flowstream.testing.lives import STEPS
from flowstream.transport.errors import UnknownTopic


class Shop:
    """Greets and counts, fails for `bad` and sleeps for `slow`."""

    def __init__(self, partitions: int = 2, **options: Any) -> None:
        settings = {k: options.pop(k) for k in ("retry_backoff", "source_idle") if k in options}
        self.app = fs.App("shop", **settings)
        self.names = self.app.topic("names", key_type=str, value_type=str, partitions=partitions)
        self.out = self.app.topic("hellos", key_type=str, value_type=str, partitions=partitions)
        self.times = self.app.Table("times", default=int)
        self.tries: list[str] = []

        @self.app.agent(self.names, sink=[self.out], **options)
        async def greet(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for name in stream:
                self.tries.append(name)
                if name == "bad":
                    raise ValueError("a bad name")
                if name == "slow":
                    await asyncio.sleep(5)
                self.times[name] += 1
                yield f"{name} {self.times[name]}"


def test_what_is_sent_is_processed_and_committed_before_the_next_line() -> None:
    shop = Shop()
    with shop.app.test_context() as context:
        context.topic(shop.names).send("ada", key="ada")
        context.topic(shop.names).send("bob", key="bob", timestamp=7.5)
        assert sorted(context.topic(shop.out).values) == ["ada 1", "bob 1"]
        assert {r.value: r.timestamp for r in context.topic(shop.out)} == {
            "ada 1": context.now,
            "bob 1": 7.5,
        }
        assert dict(context.table(shop.times)) == {"ada": 1, "bob": 1}


def test_a_topic_is_seen_by_the_types_of_each_of_its_declarations() -> None:
    app = fs.App("sums")
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)

    @app.agent(numbers, on_error="dead_letter")
    async def add(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    raw = fs.App("raw").topic("numbers", key_type=str, value_type=bytes)
    with app.test_context() as context:
        context.topic(numbers).send(5, key="a")
        context.topic(raw).send(b"nonsense", key="a")
        assert context.topic(raw).values == [b"5", b"nonsense"]
        assert context.topic(numbers) is context.topic("numbers")
        assert [letter.value for letter in context.dead_letters] == [b"nonsense"]


async def test_it_runs_inside_a_test_of_another_loop() -> None:
    shop = Shop()
    outer = asyncio.get_running_loop()
    async with shop.app.test_context() as context:
        await shop.names.send(key="ada", value="ada")
        assert context.topic(shop.out).values == ["ada 1"]
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is not None


def test_time_passes_only_when_the_test_says_so() -> None:
    app = fs.App("beats", retry_backoff=1.0)
    beats: list[float] = []

    with_start = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    topic = app.topic("in", key_type=str, value_type=str, partitions=1)

    @app.agent(topic)
    async def idle(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @app.timer(interval=10)
    async def beat() -> None:
        beats.append(context.now)

    with app.test_context(start=with_start) as context:
        begun = context.now
        assert begun == with_start.timestamp()
        context.advance(35)
        assert context.now == begun + 35
        assert [at - begun for at in beats] == [10, 20, 30]


def test_a_slow_agent_lets_time_pass_and_an_endless_one_is_named() -> None:
    shop = Shop(on_error="retry", retry_backoff=1.0)
    with shop.app.test_context() as context:
        begun = context.now
        context.topic(shop.names).send("slow", key="a")
        assert context.now == begun + 5
        assert context.topic(shop.out).values == ["slow 1"]
        with pytest.raises(StillBusy, match="agent 'greet' on names"):
            context.topic(shop.names).send("bad", key="a")
        assert shop.tries.count("bad") > 3
        tried = len(shop.tries)
        context._on_loop(asyncio.sleep(200))
        assert len(shop.tries) > tried


def test_what_on_configured_sets_is_in_force() -> None:
    app = fs.App("shop", retry_backoff=1.0)
    names = app.topic("names", key_type=str, value_type=str, partitions=1)
    tries: list[str] = []

    @app.on_configured.connect
    def configure(app: fs.App, conf: Any, **_: Any) -> None:
        conf.circuit_breaker = 1

    @app.agent(names, on_error="skip")
    async def greet(stream: fs.Stream[str]) -> None:
        async for name in stream:
            tries.append(name)
            if len(tries) < 4:
                raise ValueError(name)

    with app.test_context() as context:
        assert app.conf.circuit_breaker == 1
        for name in ("first", "second"):
            context.topic(names).send(name, settle=False)
        context.advance(30)
    assert tries == ["first", "second", "second", "second"], "a second in a row is not passed over"


def test_what_fails_is_a_dead_letter_with_its_reason() -> None:
    shop = Shop(on_error="dead_letter")
    with shop.app.test_context() as context:
        context.topic(shop.names).send("bad", key="k", headers={"trace": b"1"})
        context.topic(shop.names).send("ada", key="k")
        (letter,) = context.dead_letters
        assert (letter.value, letter.topic, letter.agent) == (b"bad", "names", "greet")
        assert (letter.error, letter.cause) == ("ValueError", "a bad name")
        assert letter.headers == (("trace", b"1"),)
        assert context.topic(shop.out).values == ["ada 1"]


def test_what_stops_a_worker_is_raised_where_the_event_was_sent() -> None:
    shop = Shop()
    with shop.app.test_context() as context:
        with pytest.raises(fs.AgentFailed, match="a bad name"):
            context.topic(shop.names).send("bad", key="k")
        assert context.workers == 0


@pytest.mark.parametrize("step", [s.value for s in ORDER["exactly_once"]])
@pytest.mark.parametrize("workers", [1, 2])
def test_S9_a_crash_before_any_step_leaves_each_event_done_once(step: str, workers: int) -> None:
    shop = Shop()
    with shop.app.test_context(workers=workers) as context:
        for number in range(6):
            context.crash_at(step)
            context.topic(shop.names).send(f"n{number % 3}", key=f"n{number % 3}")
        context.crash_at(step, times=10**6)
        assert sorted(context.topic(shop.out).values) == sorted(
            f"n{name} {count}" for name in range(3) for count in (1, 2)
        )
        assert dict(context.table(shop.times)) == {"n0": 2, "n1": 2, "n2": 2}
        assert context.crashes == 6


@pytest.mark.parametrize("events", range(1, 6))
def test_S9_a_crash_between_two_events_leaves_each_done_once(events: int) -> None:
    shop = Shop(partitions=1)
    with shop.app.test_context() as context:
        context.crash_after(events)
        for number in range(5):
            context.topic(shop.names).send("ada", key="a", settle=number == 4)
        assert context.crashes == 1
        assert context.topic(shop.out).values == [f"ada {n}" for n in range(1, 6)]
        assert shop.tries == ["ada"] * (5 + events)


def test_an_agent_can_be_killed_in_the_middle_of_its_event() -> None:
    app = fs.App("brittle")
    topic = app.topic("in", key_type=str, value_type=int, partitions=1)
    sums = app.Table("sums", default=int)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)

    @app.agent(topic, sink=[out])
    async def add(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for key, value in stream.items():
            sums[key] += value
            if value == 2 and context.crashes == 0:
                context.crash()
                await asyncio.sleep(0)
            yield sums[key]

    with app.test_context() as context:
        for value in (1, 2, 3):
            context.topic(topic).send(value, key="a")
        assert context.topic(out).values == [1, 3, 6]
        assert context.crashes == 1


def test_S6_workers_share_partitions_and_take_over() -> None:
    shop = Shop(partitions=4)
    with shop.app.test_context() as context:
        for number in range(8):
            context.topic(shop.names).send(f"n{number}", key=f"n{number}")
        context.start()
        assert [len(tasks) for tasks in context.assignment] == [2, 2]
        for number in range(8):
            context.topic(shop.names).send(f"n{number}", key=f"n{number}")
        context.crash(0, restart=False)
        assert [len(tasks) for tasks in context.assignment] == [4]
        context.start()
        context.stop(0)
        context.lose_state()
        for number in range(8):
            context.topic(shop.names).send(f"n{number}", key=f"n{number}")
        assert set(context.table(shop.times).values()) == {3}
        assert len(context.topic(shop.out)) == 24
        assert context.now == 1_000_000_000


def test_S12_windows_close_and_durable_timers_fire_on_virtual_time() -> None:
    app = fs.App("windows", source_idle=5)
    clicks = app.topic("clicks", key_type=str, value_type=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    timers = app.Timers("due", key_type=str, value_type=str, time="processing")

    @app.agent(clicks, sink=[out])
    async def count(stream: fs.Stream[int]) -> AsyncIterator[str]:
        async for window in stream.tumbling(60).count():
            yield f"{window.value}"

    @app.agent(clicks)
    async def remind(stream: fs.Stream[int]) -> None:
        async for key, _ in stream.items():
            timers.set(key, "wake", after=3_600)

    @app.agent(timers, sink=[out])
    async def wake(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            yield value

    with app.test_context(start=0) as context:
        for at in (1, 30, 59):
            context.topic(clicks).send(1, key="a", timestamp=at)
        assert context.topic(out).values == []
        context.topic(clicks).send(1, key="a", timestamp=61)
        assert context.topic(out).take()[0].value == "3"
        context.crash()
        context.advance(3_599)
        assert context.topic(out).take() == []
        context.advance(1)
        assert [r.value for r in context.topic(out).take()] == ["wake"]
        context.advance(86_400)
        assert context.topic(out).take() == []


def test_outside_its_block_a_context_says_so() -> None:
    context = AppContext(Shop().app)
    with pytest.raises(RuntimeError, match="inside its block"):
        context.advance(1)
    with context, pytest.raises(ValueError, match="no step of a commit"):
        context.crash_at("nowhere")
    with pytest.raises(RuntimeError, match="entered once"), context:
        pass


@pytest.mark.parametrize("options", [{"workers": -1}, {"start": "noon"}])
def test_what_a_context_cannot_begin_with_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"0 workers or more|seconds since 1970"):
        Shop().app.test_context(**options)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda context: context.stop(9), "no worker 9: 1 live"),
        (lambda context: context.crash(-1), "no worker -1: 1 live"),
        (lambda context: context.crash_at("end", times=0), "from 1 on, not 0"),
    ],
)
def test_what_cannot_happen_to_workers_is_refused(
    act: Callable[[AppContext], None], said: str
) -> None:
    with Shop().app.test_context() as context, pytest.raises(ValueError, match=said):
        act(context)


def test_every_step_can_be_named() -> None:
    assert [step.value for step in Step] == list(STEPS)


def test_a_topic_that_nobody_declared_and_that_is_not_there_is_a_typo() -> None:
    shop = Shop()
    with shop.app.test_context() as context:
        assert context.topic("names") == []
        with pytest.raises(LookupError, match=r"no topic 'namse': .*'hellos', 'names'"):
            assert context.topic("namse").values == []
        with pytest.raises(UnknownTopic, match="no topic 'namse'"):
            context.topic("namse").send("ada")
        assert list(context.dead_letters) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda context: context.topic("names"),
        lambda context: context.table(None),
        lambda context: context.start(),
        lambda context: context.crash(),
        lambda context: context.workers,
        lambda context: context.now,
    ],
)
def test_a_context_that_was_not_entered_says_so(use: Any) -> None:
    with pytest.raises(RuntimeError, match=r"only inside its block: with app\.test_context"):
        use(Shop().app.test_context())


async def test_a_topic_is_not_iterated_outside_of_an_agent() -> None:
    with pytest.raises(fs.AppError, match="topic 'names' is read by an agent"):
        async for _ in Shop().names:
            pass
