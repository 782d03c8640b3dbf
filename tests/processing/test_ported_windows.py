"""Windows and errors by Faust's names, used as an app of Faust's does, in memory."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as faust
from flowstream.exceptions import (
    ConsistencyError,
    DecodeError,
    FaustError,
    ImproperlyConfigured,
    KeyDecodeError,
    PartitionsMismatch,
    ProducerSendError,
    Skip,
    ValidationError,
    ValueDecodeError,
)
from flowstream.sensors import Monitor, Sensor
from flowstream.sensors.datadog import DatadogMonitor
from flowstream.sensors.prometheus import PrometheusMonitor, setup_prometheus_sensors
from flowstream.sensors.statsd import StatsdMonitor
from flowstream.transport.errors import BrokerUnreachable


def test_windows_are_values() -> None:
    hopping = faust.HoppingWindow(10, 5, expires=20)
    assert hopping.ranges(12.0) == [(5.0, 15.0), (10.0, 20.0)]
    assert (hopping.current(12.0), hopping.earliest(12.0)) == ((10.0, 20.0), (5.0, 15.0))
    assert hopping.delta(12.0, 10) == (0.0, 10.0)
    assert [hopping.stale(5.0, at) for at in (34.9, 35.0)] == [False, True]
    tumbling = faust.TumblingWindow(datetime.timedelta(minutes=1))
    assert isinstance(tumbling, faust.Window)
    assert tumbling.ranges(61) == [(60.0, 120.0)]
    assert not tumbling.stale(0.0, 1e9)
    assert tumbling == faust.TumblingWindow(datetime.timedelta(minutes=1))
    for size, step in ((0, 1), (5, 6), (5, 0)):
        with pytest.raises(faust.AppError, match="HoppingWindow"):
            faust.HoppingWindow(size, step)


@pytest.mark.parametrize("way", ["using_window", "window=", "tumbling"])
def test_a_table_uses_a_window_that_is_a_value(way: str) -> None:
    app = faust.App("shop")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    window = faust.TumblingWindow(10, expires=20)
    if way == "window=":
        table = app.Table("counts", default=int, window=window)
    elif way == "using_window":
        table = app.Table("counts", default=int).using_window(window)
    else:
        table = app.Table("counts", default=int).tumbling(10, expires=20)

    @app.agent(words)
    async def count(stream: faust.Stream[str]) -> None:
        async for word in stream:
            table[word] += 1

    with app.test_context() as context:
        for at in (1.0, 9.0, 11.0, 45.0):
            context.topic(words).send("a", timestamp=at)
        assert context.table(table) == {("a", 40.0): 1}  # what began at 10 is past keeping


def test_a_function_is_told_of_windows_that_are_values() -> None:
    app = faust.App("shop")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    told: list[object] = []

    def closed(key: Any, value: Any) -> None:
        told.append((key, value))

    table = app.Table(
        "words-of", default=list, window=faust.TumblingWindow(10, expires=1), on_window_close=closed
    )

    @app.agent(words)
    async def collect(stream: faust.Stream[str]) -> None:
        async for word in stream:
            table["all"] = [*table["all"].value(), word]

    with app.test_context() as context:
        for word, at in (("a", 1.0), ("b", 9.0), ("c", 12.0)):
            context.topic(words).send(word, timestamp=at)
    assert told == [(("all", (0.0, 10.0)), ["a", "b"])]


def test_what_is_no_window_is_refused() -> None:
    app = faust.App("shop")
    with pytest.raises(faust.AppError, match=r"a TumblingWindow\(60\)"):
        app.Table("counts", default=int).using_window(60)  # type: ignore[arg-type]
    with pytest.raises(faust.AppError, match="key_index cannot be turned off"):
        app.Table("others", default=int, window=faust.TumblingWindow(5), key_index=False)
    with pytest.raises(faust.AppError, match="key_index cannot be turned off"):
        app.Table("more", default=int).using_window(faust.TumblingWindow(5), key_index=False)
    with pytest.raises(TypeError, match=r"Table\.using_window\(expire=\) is not taken"):
        app.Table("last", default=int).using_window(faust.TumblingWindow(5), expire=1)  # type: ignore[call-arg]


def test_keys_and_values_of_windows() -> None:
    app = faust.App("shop")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    table = app.Table("counts", default=int).tumbling(10).relative_to()
    seen: list[object] = []

    @app.agent(words)
    async def count(stream: faust.Stream[str]) -> None:
        async for event in stream.events():
            table[event.value] += 1
            seen.append(
                (list(table.keys()), list(table.values()), list(table.values(first[0] or event)))
            )
            first[0] = first[0] or event
            seen.append((table.get_timestamp(), table.get_timestamp(first[0])))

    first: list[faust.Event[str] | None] = [None]
    with app.test_context() as context:
        context.topic(words).send("a", timestamp=1.5)
        context.topic(words).send("a", timestamp=2)
        context.topic(words).send("b", timestamp=11)
    assert table.key_index is True
    assert seen == [
        (["a"], [1], [1]), (1.5, 1.5), (["a"], [2], [2]), (2.0, 1.5), (["b"], [1], [0]),
        (11.0, 1.5),
    ]  # fmt: skip
    with pytest.raises(faust.NotInAgent):
        table.get_timestamp()


def test_relative_to_a_field_is_relative_to_field() -> None:
    app = faust.App("shop")
    table = app.Table("counts", default=int).tumbling(10)
    assert table.relative_to("date") is table
    assert table.table.event_field == "date"
    table.relative_to()
    assert table.table.event_field is None


def test_a_table_knows_the_topic_of_its_changes() -> None:
    app = faust.App("shop")
    assert app.Table("counts").changelog_topic_name == "shop-counts-changelog"


@pytest.mark.parametrize("on_error", ["stop", "retry", "dead_letter", "park", "skip"])
@pytest.mark.parametrize("where", ["agent", "map"])
def test_S11_an_event_that_raises_skip_is_passed_over_whole(on_error: Any, where: str) -> None:
    app = faust.App("shop", circuit_breaker=2)
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    def refuse(word: str) -> str:
        if word.startswith("bad"):
            raise Skip
        return word

    @app.agent(words, sink=[out], on_error=on_error)
    async def count(stream: faust.Stream[str]) -> AsyncIterator[str]:
        async for word in stream.map(refuse) if where == "map" else stream:
            counts["all"] += 1
            yield word
            refuse(word)

    with app.test_context() as context:
        for word in ("a", "bad", "bad", "bad", "bad", "b"):
            context.topic(words).send(word, key="k")
        assert context.topic(out).values == ["a", "b"]
        assert context.table(counts) == {"all": 2}
        assert list(context.dead_letters) == []


@pytest.mark.parametrize("order", ["key", None])
def test_S11_lanes_pass_over_what_raises_skip(order: Any) -> None:
    app = faust.App("shop", circuit_breaker=1)
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, concurrency=3, order=order, on_error="retry")
    async def count(stream: faust.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1
            await asyncio.sleep(1)
            if word.startswith("bad"):
                raise Skip

    with app.test_context() as context:
        for number in range(12):
            word = ("bad" if number % 3 else "good") + str(number % 2)
            context.topic(words).send(word, key=word)
        assert context.table(counts) == {"good0": 2, "good1": 2}


def test_S11_a_list_that_raises_skip_is_passed_over_whole() -> None:
    app = faust.App("shop")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)
    lists: list[list[str]] = []

    @app.agent(words)
    async def count(stream: faust.Stream[str]) -> None:
        async for several in stream.take(2, within=5):
            lists.append(several)
            counts["all"] += len(several)
            if "bad" in several:
                raise Skip

    async def send() -> None:
        for word in ("a", "bad", "b", "c"):
            await words.send(key="k", value=word)

    with app.test_context() as context:
        context.run(send())
        context.advance(10)
        assert context.table(counts) == {"all": 2}
    assert lists == [["a", "bad"], ["b", "c"]]


def test_who_asked_hears_that_the_event_was_skipped() -> None:
    app = faust.App("shop")
    asked = app.topic("asked", value_type=str, partitions=1)

    @app.agent(asked)
    async def answer(stream: faust.Stream[str]) -> AsyncIterator[str]:
        async for _ in stream:
            raise Skip("not this one")
            yield ""

    with (
        app.test_context() as context,
        pytest.raises(faust.ReplyFailed, match="not this one"),
    ):
        context.run(answer.ask("a", timeout=5))


def test_an_agent_on_a_channel_skips_too() -> None:
    app = faust.App("shop")
    words = app.topic("words", value_type=str, partitions=1)
    channel = app.channel(value_type=str)
    seen: list[str] = []

    @app.agent(words, sink=[channel])
    async def pass_on(stream: faust.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    @app.agent(channel)
    async def note(stream: faust.Stream[str]) -> None:
        async for word in stream:
            if word == "bad":
                raise Skip
            seen.append(word)

    with app.test_context() as context:
        for word in ("a", "bad", "b"):
            context.topic(words).send(word)
    assert seen == ["a", "b"]


def test_errors_by_their_names_catch_what_ours_are() -> None:
    app = faust.App("shop")
    with pytest.raises(ImproperlyConfigured):
        app.Table("counts", partitions=0)
    with pytest.raises(ImproperlyConfigured):
        faust.App("shop", commit_interval=-1)
    with pytest.raises(FaustError):
        app.topic("no name")

    class Order(faust.Record):
        amount: int

    with pytest.raises(ValidationError):
        Order(amount="x")  # type: ignore[arg-type]
    assert (KeyDecodeError, ValueDecodeError) == (DecodeError, faust.DecodeError)
    assert (PartitionsMismatch, ConsistencyError) == (faust.PartitionMismatch, faust.StateLost)
    assert issubclass(BrokerUnreachable, ProducerSendError)
    assert faust.exceptions.Skip is Skip


def test_monitors_by_their_modules() -> None:
    assert (Monitor, Sensor) == (faust.Monitor, faust.Sensor)
    assert StatsdMonitor is faust.StatsdMonitor
    assert faust.sensors.Monitor is faust.Monitor
    app = faust.App("shop")
    app.monitor = datadog = DatadogMonitor("localhost", 9, "shop", 0.5)
    datadog.close()
    assert isinstance(app.monitor, StatsdMonitor)
    app.monitor = PrometheusMonitor(app, pattern="/metrics")
    app.monitor.count("own", 2)
    assert app.monitor.metric_counts["own"] == 2
    setup_prometheus_sensors(app)
    assert isinstance(app.monitor, PrometheusMonitor)
    assert app.monitor.metric_counts["own"] == 0
    with pytest.raises(faust.SettingsError, match="metrics_path"):
        setup_prometheus_sensors(app, pattern="/numbers")
    with pytest.raises(faust.SettingsError, match="relabel_configs"):
        setup_prometheus_sensors(app, name_prefix="shop")


def test_a_model_is_a_record() -> None:
    class Order(faust.Record):
        amount: int

    assert isinstance(Order(amount=1), faust.Model)
