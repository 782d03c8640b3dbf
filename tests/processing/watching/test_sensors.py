"""Sensors: they are told everything, and change nothing."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.processing.watching.monitor import Monitor, Rate
from flowstream.processing.watching.sensors import Sensor
from tests.processing.conftest import Kit


class Notes(Sensor):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith(("on_", "track_")):
            return super().__getattribute__(name)

        def note(*about: Any) -> str:
            self.told.append((name, *about))
            return name

        return note

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """What it was told by one method."""
        return [note[1:] for note in self.told if note[0] == name]

    def order(self, *names: str) -> list[str]:
        """In which order these were told."""
        return [note[0] for note in self.told if note[0] in names]


async def test_every_hook_of_a_sensor_is_told(kit: Kit, name: str) -> None:
    app = kit.app(name)
    notes = Notes()
    app.sensors.add(notes)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)
    windowed = app.Table("windowed", default=int).tumbling(10)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            counts[word] += 1
            windowed[word] += 1
            if counts[word] == 2:
                del counts[word]
            yield word

    @app.agent(words)
    async def second(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with kit.running(app):
        for word in "aba":
            await words.send(key=word, value=word, timestamp=12.0)
        await kit.until(kit.committed(app, words.name, 3))
        await kit.sees(lambda: sum(n for _, n in notes_committed(notes, words.name)) == 3)
    tp = (words.name, 0)
    assert [about[:2] for about in notes.of("on_message_in")] == [(tp, 0), (tp, 1), (tp, 2)]
    assert [about[:2] for about in notes.of("on_message_out")] == [(tp, 0), (tp, 1), (tp, 2)]
    begun = notes.of("on_stream_event_in")
    assert [(about[1], about[2]) for about in begun if about[2].startswith("count")] == [
        (offset, f"count <- {words.name}") for offset in range(3)
    ]
    ended = notes.of("on_stream_event_out")
    assert sorted(about[:3] for about in ended) == sorted(about[:3] for about in begun)
    assert {about[4] for about in ended} == {"on_stream_event_in"}
    gets = [(table.name, key) for table, key in notes.of("on_table_get") if table is counts]
    assert gets[:2] == [("counts", "a"), ("counts", "a")]
    sets = [(table.name, key, value) for table, key, value in notes.of("on_table_set")]
    assert sets == [
        ("counts", "a", 1), ("windowed", ("a", 10.0), 1), ("counts", "b", 1),
        ("windowed", ("b", 10.0), 1), ("counts", "a", 2), ("windowed", ("a", 10.0), 2),
    ]  # fmt: skip
    assert notes.of("on_table_del") == [(counts, "a")]
    sent = [(topic, message[1]) for _, topic, message, *_ in notes.of("on_send_initiated")]
    assert sorted(sent) == sorted(
        [(topic.name, word) for topic in (words, out) for word in (b"a", b"b", b"a")]
    )
    assert len(notes.of("on_send_completed")) == 6
    assert not notes.of("on_send_error")
    assert len(notes.of("on_commit_initiated")) == len(notes.of("on_commit_completed"))
    for told in (
        ["on_rebalance_start", "on_rebalance_return", "on_rebalance_end"],
        ["on_assignment_start", "on_assignment_completed"],
    ):
        assert notes.order(*told)[: len(told)] == told
    assert (tp, 3) in notes.of("track_tp_end_offset")


def notes_committed(notes: Notes, topic: str) -> list[tuple[str, int]]:
    """The newest committed offset of a topic, as a sensor heard it."""
    found: dict[str, int] = {}
    for (offsets,) in notes.of("on_tp_commit"):
        found.update({tp.topic: at for tp, at in offsets.items()})
    return [(name, at) for name, at in found.items() if name == topic]


async def test_what_was_dropped_is_told_as_an_error_and_begins_anew(kit: Kit, name: str) -> None:
    app = kit.app(name, retry_backoff=0.01)
    notes = Notes()
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    failed: list[str] = []

    @app.agent(words, sink=[out], on_error="retry")
    async def once(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            if not failed:
                failed.append(word)
                raise ValueError("once")
            yield word

    await kit.create(app)
    async with kit.running(app, sensors=[notes]):
        await words.send(value="a")
        await kit.until(kit.count(out.name, 1))
    assert len(notes.of("on_stream_event_in")) == 2
    assert len(notes.of("on_stream_event_out")) == 1
    assert len(notes.of("on_message_out")) == 1


def test_what_an_aborted_epoch_sent_was_not_sent() -> None:
    app = fs.App("watched")
    notes = Notes()
    app.sensors.add(notes)
    look = app._sender._onlookers
    taken: list[Any] = []
    append = look.appending(lambda *record: taken.append(record))
    append(("t", 0), b"k", b"v", 1)
    look.closing()
    append(("t", 1), None, b"w", 2)
    look.dropped()
    assert len(notes.of("on_send_error")) == 2
    append(("t", 2), None, b"x", 3)
    look.closing()
    look.committed({("in", 0): 5})
    assert notes.of("on_send_completed") == [(app, "on_send_initiated", ("t", 2, None))]
    assert notes.of("on_tp_commit") == [({("in", 0): 5},)]
    assert [record[0] for record in taken] == [("t", 0), ("t", 1), ("t", 2)]


async def test_a_failed_assignment_and_a_failed_send_are_told(kit: Kit, name: str) -> None:
    app = kit.app(name)
    notes = Notes()
    app.sensors.add(notes)
    small = app.topic(f"{name}-small", partitions=1, config={"max.message.bytes": "100"})
    await kit.create(app)
    with pytest.raises(fs.FlowstreamError):
        await small.send(value="x" * 1000)
    assert len(notes.of("on_send_error")) == 1

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        app._sender._onlookers.assigning(fails)()
    ((_, state, error),) = notes.of("on_assignment_error")
    assert (state, str(error)) == ("on_assignment_start", "no")


async def test_a_sensor_that_raises_is_told_nothing_more(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    seen: list[str] = []

    class Broken(Sensor):
        """Fails at the first event."""

        def on_stream_event_in(self, *about: Any) -> Any:
            raise ZeroDivisionError

    app.sensors.add(Broken())

    @app.agent(words)
    async def see(stream: fs.Stream[str]) -> None:
        async for word in stream:
            seen.append(word)

    await kit.create(app)
    async with kit.running(app):
        for word in "ab":
            await words.send(value=word)
        await kit.until(kit.committed(app, words.name, 2))
    assert seen == ["a", "b"]
    assert caplog.text.count("Broken.on_stream_event_in raised") == 1
    assert len(app.sensors) == 0


async def test_the_monitor_counts(kit: Kit, name: str) -> None:
    app = kit.app(name)
    monitor = app.monitor
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            counts[word] += 1
            monitor.count("words")
            yield word

    await kit.create(app)
    async with kit.running(app):
        for number in range(6):
            await words.send(key=str(number), value=str(number))
        await kit.until(kit.committed(app, words.name, 6))
        await kit.sees(lambda: sum(monitor.tp_committed_offsets.values()) == 6)
        found = json.loads(json.dumps(monitor.asdict()))
        assert monitor.messages_active == monitor.events_active == 0
        assert monitor.stream_inbound_time.keys() == {(words.name, 0), (words.name, 1)}
        with pytest.raises(AppError, match="where the app is declared"):
            fresh(app).monitor  # noqa: B018 - asking is what is tested
    assert found["messages_received_total"] == found["events_total"] == 6
    assert found["messages_received_by_topic"] == {words.name: 6}
    assert found["messages_sent_by_topic"] == {words.name: 6, out.name: 6}
    assert found["messages_sent"] == 12
    assert found["events_by_stream"] == {f"count <- {words.name}": 6}
    assert sum(found["events_by_task"].values()) == 6
    assert found["metric_counts"] == {"words": 6}
    assert found["tables"]["counts"] == {
        "keys_retrieved": 6, "keys_updated": 6, "keys_deleted": 0,
    }  # fmt: skip
    assert sum(found["topic_end_offsets"][words.name].values()) == 6
    assert sum(found["topic_committed_offsets"][words.name].values()) == 6
    assert len(found["topic_read_offsets"][words.name]) == 2
    assert found["rebalances"] == 1
    assert found["assignments_completed"] == 1
    assert found["send_errors"] == found["assignments_failed"] == 0
    latencies = ("commit_latency", "send_latency", "assignment_latency",
                 "rebalance_return_latency", "rebalance_end_latency")  # fmt: skip
    assert all(found[each] and min(found[each]) >= 0 for each in latencies)
    assert found["rebalance_end_avg"] >= found["rebalance_return_avg"] > 0
    assert found["events_runtime_avg"] > 0


def fresh(app: fs.App) -> fs.App:
    """As the app when nobody had asked for its monitor before its worker."""
    app._monitor = None
    return app


def test_the_monitor_forgets_what_is_old_and_what_is_not_its_own() -> None:
    now = [10.0]
    monitor = Monitor(time=lambda: now[0], max_avg_history=2, max_send_latency_history=1)
    tp: Any = fs_tp("t", 0)
    record: Any = None
    for offset in range(3):
        monitor.on_message_in(tp, offset, record)
        state = monitor.on_stream_event_in(tp, offset, "s", record)
        now[0] += 0.25
        monitor.on_stream_event_out(tp, offset, "s", record, state)
    assert (monitor.events_s, monitor.messages_s) == (0, 0)
    assert list(monitor.events_runtime) == [0.25, 0.25]
    now[0] = 11.5
    assert (monitor.events_s, monitor.messages_s) == (3, 3)
    now[0] = 13.0
    assert (monitor.events_s, monitor.messages_s) == (0, 0)
    monitor.on_topic_buffer_full(tp)
    monitor.on_send_error(None, ValueError(), monitor.on_send_initiated(None, "t", None, 1, 1))
    monitor.on_assignment_error(None, 12.0, ValueError())
    assert monitor.asdict()["topic_buffer_full"] == {"t": {0: 1}}
    assert (monitor.send_errors, monitor.assignments_failed) == (1, 1)
    assert monitor.ms_since(12.5) == 500.0
    state = monitor.on_rebalance_start(None)
    assert not monitor.tp_read_offsets
    assert not monitor.topic_buffer_full
    now[0] = 14.0
    monitor.on_rebalance_return(None, state)
    monitor.on_rebalance_end(None, state)
    assert (monitor.rebalance_return_avg, monitor.rebalance_end_avg) == (1.0, 1.0)


def fs_tp(topic: str, partition: int) -> Any:
    """A partition, as sensors get it."""
    from flowstream.transport.types import TopicPartition

    return TopicPartition(topic, partition)


def test_a_rate_is_that_of_the_last_whole_second() -> None:
    rate = Rate()
    assert rate.at(0.5) == 0
    for at in (5.1, 5.2, 5.9, 6.1):
        rate.add(at)
    assert rate.at(6.9) == 3
    assert rate.at(7.0) == 1
    assert rate.at(9.0) == 0


async def test_a_commit_is_told_when_it_is_there_not_when_the_next_look_is_due(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowstream.processing.group.membership.POLL_MS", 3_000)
    app = kit.app(name, commit_interval=3.0)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    monitor = app.monitor

    @app.agent(words)
    async def tell(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with kit.running(app):
        await words.send(value="a")
        await kit.sees(lambda: bool(monitor.commit_latency))
    assert monitor.commit_latency[0] < 2.5


def test_a_status_without_a_name_is_counted_as_any_other() -> None:
    """It was an error, after which the monitor was told nothing more."""
    app = fs.App("watched")
    monitor = app.monitor
    for status in (499, 404, 499):
        states = app.sensors.begun("on_web_request_start", app, None)
        for sensor, state in states.items():
            app.sensors.ended("on_web_request_end", {sensor: state}, app, None, status)
    assert monitor.http_response_codes == {HTTPStatus.NOT_FOUND: 1, 499: 2}
    assert monitor.asdict()["http_response_codes"] == {404: 1, 499: 2}
