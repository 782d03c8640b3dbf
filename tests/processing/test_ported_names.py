"""Attributes and methods by Faust's names, each used as an app of Faust's does, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as faust
from tests.processing.conftest import Kit

Words = faust.Stream[str]


def test_topics_tell_what_they_are() -> None:
    app = faust.App("shop")
    plain = app.topic("plain")
    kept = app.topic("kept", retention=60, compacting=True, deleting=False)
    forever = app.topic("forever", config={"retention.ms": "-1"}, deleting=True)
    assert plain.get_topic_name() == "plain"
    assert plain.topics == ["plain"]
    assert plain.acks is True
    assert [(t.retention, t.compacting, t.deleting) for t in (plain, kept, forever)] == [
        (None, None, None), (60, True, False), (-1, False, True),
    ]  # fmt: skip


def test_topics_are_derived_as_fausts_are() -> None:
    app = faust.App("shop")
    orders = app.topic("orders", value_type=str, partitions=2, config={"retention.ms": "5000"})
    old = orders.derive_topic(suffix="-old", partitions=4, retention=60)
    assert app.topics["orders-old"] is old
    assert (old.name, old.partitions, old.value_type) == ("orders-old", 4, str)
    assert old.config == {"retention.ms": "60000"}
    assert orders.derive(topics=["returns"], prefix="all-").name == "all-returns"
    other = orders.derive_topic(schema=faust.Schema(value_type=int), key_type=str)
    assert (other.name, other.value_type, other.key_type) == ("orders", int, str)
    last = orders.derive(name="last", config={"cleanup.policy": "compact"})
    assert (last.config, last.compacting) == ({"cleanup.policy": "compact"}, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partitions": 3}, "partitions cannot be other than the topic's"),
        ({"retention": 3}, "another name"),
        ({"topics": ["a", "b"]}, "a topic is one"),
        ({"topics": ["a"], "name": "b"}, "a topic is one"),
        ({"sort": 1}, "not sort"),
        ({"schema": 5}, "schema= is an object"),
    ],
)
def test_what_cannot_be_derived_is_refused(changes: dict[str, Any], said: str) -> None:
    orders = faust.App("shop").topic("orders", partitions=2)
    with pytest.raises(faust.AppError, match=said):
        orders.derive_topic(**changes)


def test_a_schema_stands_in_for_the_types_of_a_topic() -> None:
    app = faust.App("shop")
    orders = app.topic("orders", value_type=str, partitions=1)
    words = app.topic("words", value_type=str, partitions=1)

    @app.agent(words)
    async def pass_on(stream: Words) -> None:
        async for event in stream.events():
            schema = faust.Schema(key_type=str, value_type=dict, value_serializer="json|base64")
            await orders.send(key="k", value={"a": event.value}, schema=schema)  # type: ignore[arg-type]
            await event.forward(orders)
            await event.forward(orders, "other", event.value + "!")

    with app.test_context() as context:
        raw = faust.App("raw").topic("orders", value_type=bytes)
        context.topic(words).send("a", key=b"x", timestamp=2.0)
        found = [(record.key, record.value) for record in context.topic(raw)]
        assert found == [(b"k", b"eyJhIjoiYSJ9"), (b"x", b"a"), (b"other", b"a!")]
        assert [record.timestamp for record in context.topic(raw)] == [2.0, 2.0, 2.0]


def test_what_is_sent_is_forced_only_where_it_is_at_once() -> None:
    app = faust.App("shop")
    words = app.topic("words", value_type=str, partitions=1)
    out = app.topic("out", value_type=str, partitions=1)
    seen: list[str] = []

    @app.agent(words)
    async def count(stream: Words) -> AsyncIterator[str]:
        async for word in stream:
            for to in (out, count):
                with pytest.raises(faust.AppError, match="belongs to its event"):
                    await to.send(value=word, force=True)
            await out.send(value=word, force=False)
            yield word

    with app.test_context() as context:
        context.run(out.send(value="a", force=True))
        context.run(count.send(value="b", force=True))
        seen.append(context.run(context.run(count.ask_nowait("c", force=True))))
        assert context.topic(out).values == ["a", "b", "c"]
        with pytest.raises(faust.AppError, match="sent at once"):
            context.run(count.ask_nowait("d", force=False))
    assert seen == ["c"]


def test_a_callback_is_called_once_the_record_is_acknowledged() -> None:
    app = faust.App("shop")
    words = app.topic("words", value_type=str, partitions=1)
    out = app.topic("out", value_type=str, partitions=1)
    told: list[faust.RecordMetadata] = []

    def now(future: asyncio.Future[faust.RecordMetadata]) -> None:
        told.append(future.result())

    async def later(future: asyncio.Future[faust.RecordMetadata]) -> None:
        await asyncio.sleep(0)
        told.append(future.result())

    @app.agent(words)
    async def count(stream: Words) -> None:
        async for word in stream:
            for send in (out.send, count.send):
                with pytest.raises(faust.AppError, match="callback= cannot be; leave it out"):
                    await send(value=word, callback=now)
            told.append(faust.RecordMetadata("inside", 0, None))

    with app.test_context() as context:
        sent = context.run(out.send(value="a", callback=now))
        assert (told, sent) == ([sent], ("out", 0, 0))
        context.run(app.send(out, value="b", callback=later))
        context.run(out.send(value="c", value_serializer="json", callback=later))
        assert told[1:] == [("out", 0, 1), ("out", 0, 2)]
        with pytest.raises(faust.FlowstreamError):
            context.run(out.send(value="a", partition=9, callback=now))
        assert len(told) == 3  # nothing was acknowledged
        context.run(count.send(value="d", callback=now))
        context.settle()
    assert set(told[3:]) == {("words", 0, 0), ("inside", 0, None)}


class Signed(faust.Schema):
    """Whose records say what they have."""

    def on_dumps_key_prepare_headers(self, key: Any, headers: Any) -> Any:
        return {**dict(headers), "key": repr(key).encode()}

    def on_dumps_value_prepare_headers(self, value: Any, headers: Any) -> Any:
        return {**headers, "value": repr(value).encode()}


def test_a_schema_makes_the_headers_of_whatever_is_sent() -> None:
    app = faust.App("shop")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    signed = app.topic("signed", schema=Signed(key_type=str, value_type=str), partitions=1)

    @app.agent(words, sink=[signed])
    async def pass_on(stream: Words) -> AsyncIterator[str]:
        async for word in stream:
            signed.send_soon(key="soon", value=word, headers={"own": b"1"})
            yield word

    with app.test_context() as context:
        context.topic(words).send("a", key="k")
        context.run(signed.send(key="plain", value="b"))
        context.run(signed.derive(value_type=str).send(value="c"))
        plain = faust.Schema(key_type=str, value_type=str)
        context.run(signed.send(value="d", schema=plain))
        found = [dict(record.headers) for record in context.topic(signed)]
    assert found == [
        {"own": b"1", "key": b"'soon'", "value": b"'a'"}, {"key": b"'k'", "value": b"'a'"},
        {"key": b"'plain'", "value": b"'b'"}, {"key": b"None", "value": b"'c'"}, {},
    ]  # fmt: skip
    schema = Signed(key_type=str, value_type=str)
    assert schema.dumps_key(app, "k") == (b"k", {"key": b"'k'"})
    assert schema.dumps_value(app, "v", headers={"a": b"b"})[1] == {"a": b"b", "value": b"'v'"}
    for through in (
        lambda: app.channel().stream().through(signed),
        lambda: app.channel().stream().group_by(len, topic=signed),
    ):
        with pytest.raises(faust.AppError, match="prepares headers"):
            through()


def test_agents_tell_what_they_are() -> None:
    app = faust.App("shop")
    words, more = app.topic("words", value_type=str), app.topic("more", value_type=str)

    @app.agent(words, more)
    async def count(stream: Words) -> None:
        """Counts words."""
        async for _ in stream:
            pass

    @app.agent(app.channel())
    async def hear(stream: faust.Stream[Any]) -> None:
        async for _ in stream:
            pass

    assert count.get_topic_names() == ["words", "more"]
    assert count.channel is words
    assert (count.help, hear.help) == ("Counts words.", "")
    assert count.isolated_partitions is True
    assert hear.get_topic_names() == []


def test_set_tables_tell_of_their_manager() -> None:
    app = faust.App("shop", topic_partitions=1)
    plain = app.SetTable("plain")
    managed = app.SetTable("managed", start_manager=True, manager_topic_suffix="-changes")
    named = app.SetGlobalTable("named", start_manager=True, manager_topic_name="all")
    found = [
        (table.start_manager, table.manager_topic_name, table.manager_topic_suffix)
        for table in (plain, managed, named)
    ]
    assert found == [
        (False, None, "-setmanager"), (True, "shop-managed-changes", "-changes"),
        (True, "all", "-setmanager"),
    ]  # fmt: skip
    assert isinstance(managed.manager, faust.SetTable.Manager)


async def test_a_channel_gives_what_is_put_from_the_first_get_on() -> None:
    channel = faust.App("shop").channel(value_type=str)
    await channel.declare()
    await channel.maybe_declare()
    assert channel.get_topic_name() == channel.name
    getting = asyncio.create_task(channel.get())
    await asyncio.sleep(0)
    await channel.put("a")
    await channel.put("b")
    assert (await getting).value == "a"
    assert (await channel.get(timeout=5)).value == "b"
    with pytest.raises(TimeoutError):
        await channel.get(timeout=0)
    await channel.throw(KeyError("gone"))
    with pytest.raises(KeyError):
        await channel.get()


def feed(app: faust.App, topic: faust.Topic[Any, Any], *values: Any) -> None:
    """Run the app in memory, and give it these values at seconds 0, 1, 2 and so on."""
    with app.test_context() as context:
        for number, value in enumerate(values):
            context.topic(topic).send(value, key=b"k", timestamp=float(number))


def test_a_stream_knows_its_event_and_acknowledges_by_itself() -> None:
    app = faust.App("shop")
    words = app.topic("words", value_type=str, partitions=1)
    seen: list[object] = []

    @app.agent(words)
    async def note(stream: Words) -> None:
        seen.append(stream.current_event)
        async for word in stream:
            assert stream.current_event is not None
            assert stream.current_event == faust.current_event()
            seen.append((word, stream.current_event.value, stream.current_event.timestamp))
        assert stream.enable_acks is True

    with pytest.raises(AttributeError):
        app.channel().stream().enable_acks = False  # type: ignore[misc]
    feed(app, words, "a", "b")
    assert seen[-2:] == [("a", "a", 0.0), ("b", "b", 1.0)]
    assert set(seen[:-2]) == {None}


def test_a_list_has_the_times_of_its_dicts() -> None:
    app = faust.App("shop")
    rows = app.topic("rows", partitions=1)
    seen: list[list[Any]] = []

    @app.agent(rows)
    async def note(stream: faust.Stream[Any]) -> None:
        async for several in stream.take_with_timestamp(3, 60, "at"):
            seen.append(several)

    feed(app, rows, {"a": 1}, "text", {"at": "own"})
    assert [value for several in seen for value in several] == [
        {"a": 1, "at": 0.0},
        "text",
        {"at": 2.0},
    ]
    with pytest.raises(faust.AppError, match="name of the field is a text"):
        app.channel().stream().take_with_timestamp(3, 60, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_joins_by_their_kinds(how: str) -> None:
    app = faust.App("shop")
    left = app.topic("left", key_type=str, value_type=str, partitions=1)
    right = app.topic("right", key_type=str, value_type=str, partitions=1)
    seen: list[tuple[Any, Any]] = []

    @app.agent(left)
    async def meet(stream: Words) -> None:
        async for pair in getattr(stream, f"{how}_join")(right, within=10):
            seen.append((pair.left, pair.right))

    with app.test_context() as context:
        for topic, key, at in (
            (left, "both", 1.0), (right, "both", 2.0), (left, "left", 3.0), (right, "right", 4.0),
            (left, "end", 99.0), (right, "end", 99.0),
        ):  # fmt: skip
            context.topic(topic).send(topic.name, key=key, timestamp=at)
    alone = {"inner": [], "left": [("left", None)], "outer": [("left", None), (None, "right")]}
    assert [pair for pair in seen if None in pair] == alone[how]
    assert seen.count(("left", "right")) == 2


def test_joins_with_tables_by_their_kinds() -> None:
    app = faust.App("shop")
    names = app.topic("names", key_type=str, value_type=str, partitions=1)
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    table = app.table(names)
    seen: list[tuple[Any, Any]] = []

    @app.agent(words)
    async def meet(stream: Words) -> None:
        async for pair in stream.left_join(table):
            seen.append((pair.left, pair.right))

    @app.agent(app.topic("others", key_type=str, value_type=str, partitions=1))
    async def refused(stream: Words) -> None:
        with pytest.raises(faust.AppError, match="'inner' or 'left'"):
            stream.outer_join(table)  # type: ignore[arg-type]
        async for _ in stream:
            pass

    with app.test_context() as context:
        context.topic(names).send("Ada", key="a")
        context.topic(words).send("x", key="a")
        context.topic(words).send("y", key="b")
    assert seen == [("x", "Ada"), ("y", None)]


async def test_group_by_goes_through_a_topic_of_ones_own(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    by_length = app.topic(f"{name}-by-length", key_type=int, value_type=str, partitions=2)
    counts = app.Table("counts", key_type=int, default=int)

    @app.agent(words)
    async def count(stream: Words) -> None:
        async for length, _ in stream.group_by(len, topic=by_length).items():
            counts[length] += 1

    await kit.create(app)
    async with kit.running(app):
        for word in ("a", "bb", "cc", "d", "ee"):
            await words.send(key="k", value=word)
        await kit.until(kit.committed(app, by_length.name, 5))
    assert sorted((r.key, r.value) for r in await kit.records(by_length.name)) == [
        (b"1", b"a"), (b"1", b"d"), (b"2", b"bb"), (b"2", b"cc"), (b"2", b"ee"),
    ]  # fmt: skip
    rows = {row.key: row.value for row in await kit.records(app.changelog("counts"))}
    assert rows == {b"1": b"2", b"2": b"3"}


def test_what_group_by_cannot_go_through_is_refused() -> None:
    app = faust.App("shop")
    topic = app.topic("by-length", key_type=int)
    stream = app.channel().stream()
    with pytest.raises(faust.AppError, match=r"group_by\(topic=\) takes a topic"):
        stream.group_by(len, topic="by-length")  # type: ignore[arg-type]
    with pytest.raises(faust.AppError, match="leave name=, key_type= and partitions= out"):
        stream.group_by(len, topic=topic, key_type=int)
