"""`on_changelog_event=`: an app is told of what its stores take over from changelogs."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.events.event import Retimed
from flowstream.processing.tables.changelog_events import changelog_event
from flowstream.processing.time.dues import MARKS_KEY
from flowstream.processing.time.windows import window_key
from flowstream.transport.types import TopicPartition
from tests.processing.conftest import Kit

TP = TopicPartition("shop-counts-changelog", 3)


def record(key: bytes | None, value: bytes | None) -> Retimed:
    return Retimed(TP.topic, TP.partition, 7, 1_500, key, value, ())


def told(table: Any, key: bytes | None, value: bytes | None) -> Any:
    event = changelog_event(table, TP, record(key, value))
    if event is None:
        return None
    assert (event.topic, event.partition, event.offset, event.timestamp) == (*TP, 7, 1.5)
    return event.key, event.value


@pytest.fixture
def app() -> fs.App:
    return fs.App("shop", broker="kafka://127.0.0.1:1")


def test_keys_and_values_are_decoded_and_a_deletion_has_none(app: fs.App) -> None:
    table = app.Table("counts", key_type=int, value_type=int)
    assert told(table, table.row_keys.encode(5), b"2") == (5, 2)
    assert told(table, table.row_keys.encode(5), None) == (5, None)
    assert told(table, None, b"2") is None


def test_a_row_of_a_window_has_its_ends_in_its_key(app: fs.App) -> None:
    app.Table("counts", default=int).tumbling(10)
    table, row = app.tables["counts"], window_key(b"a", 20_000)
    assert told(table, row, b"2") == (("a", (20.0, 30.0)), 2)
    assert told(table, row, None) == (("a", (20.0, 30.0)), None)


def test_rows_that_end_are_told_as_they_were_written(app: fs.App) -> None:
    table = app.Table("counts", value_type=int, ttl=1)
    row = table.row_codec.encode((1_000, 4))
    assert told(table, b"a", row) == ("a", 4)
    assert told(table, b"\xff@time", b"99") is None, "no key of the table"


def test_rows_of_our_own_are_not_told(app: fs.App) -> None:
    table = app.Table("counts", value_type=int)
    table.comes_due = True
    assert told(table, MARKS_KEY, b"{}") is None
    assert told(table, MARKS_KEY, None) is None


class Shop:
    """Counts names, and keeps what it is told."""

    def __init__(self, told: Any) -> None:
        self.app = fs.App("shop")
        self.names = self.app.topic("names", key_type=str, value_type=str, partitions=1)
        self.counts = counts = self.app.Table("counts", default=int, on_changelog_event=told)

        @self.app.agent(self.names)
        async def count(stream: fs.Stream[str]) -> None:
            async for name in stream:
                if name == "gone":
                    del counts["a"]
                else:
                    counts[name] += 1


def test_S10_a_restore_tells_of_every_record_of_the_changelog() -> None:
    events: list[fs.Event[Any]] = []

    async def keep(event: fs.Event[Any]) -> None:
        events.append(event)

    shop = Shop(keep)
    with shop.app.test_context() as context:
        for name in ("a", "b", "a", "gone"):
            context.topic(shop.names).send(name)
        assert events == [], "what the app writes itself is no affair of a restore"
        context.lose_state()
        assert [(event.key, event.value) for event in events] == [
            ("a", 1), ("b", 1), ("a", 2), ("a", None),
        ]  # fmt: skip
        assert {event.topic for event in events} == {"shop-counts-changelog"}
        assert [event.offset for event in events] == sorted(event.offset for event in events)


def test_what_fails_there_is_told_and_the_restore_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: fs.Event[Any]) -> None:
        raise ValueError(f"no {event.key}")

    shop = Shop(fail)
    with shop.app.test_context() as context:
        context.topic(shop.names).send("a")
        context.lose_state()
        context.topic(shop.names).send("a")
        assert dict(context.table(shop.counts)) == {"a": 2}
    assert "on_changelog_event of table 'counts' failed" in caplog.text
    assert "no a" in caplog.text


def test_only_a_function_is_told(app: fs.App) -> None:
    with pytest.raises(fs.AppError, match="'counts': on_changelog_event"):
        app.Table("counts", default=int, on_changelog_event=5)  # type: ignore[call-overload]


async def test_S5_a_standby_tells_of_what_it_follows(kit: Kit, name: str) -> None:
    events: list[tuple[str, Any, Any]] = []
    apps = []
    for where in "ab":
        app = kit.app(name, data_dir=kit.directory / f"{name}-{where}", standby_replicas=1)
        names = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)

        def keep(event: fs.Event[Any], where: str = where) -> None:
            events.append((where, event.key, event.value))

        counts = app.Table("counts", default=int, on_changelog_event=keep)

        @app.agent(names)
        async def count(stream: fs.Stream[str], counts: Any = counts) -> None:
            async for word in stream:
                counts[word] += 1

        apps.append((app, names))
    await kit.create(apps[0][0])
    async with kit.running(apps[0][0]) as first, kit.running(apps[1][0]) as second:
        await kit.sees(lambda: len(first.tasks + second.tasks) == 1)
        standby = "b" if first.tasks else "a"
        for _ in range(3):
            await apps[0][1].send(value="w", key="k")
        await kit.sees(lambda: (standby, "w", 3) in events)
        assert {where for where, *_ in events} == {standby}
