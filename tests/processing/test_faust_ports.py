"""Faust's own example apps, ported: each reads as there, but for what docs/migrating-from-faust.md
names under "Its examples, ported".
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from typing import Any

import flowstream as faust
from flowstream.cli import option
from flowstream.processing.time.dues import WRITTEN_AS_KEY
from tests.processing.conftest import Kit
from tests.web.conftest import visited


class PageView(faust.Record):
    """Of a page, by a user."""

    id: str
    user: str


class Withdrawal(faust.Record, isodates=True, serializer="json"):
    """Of an account."""

    user: str
    country: str
    amount: float
    date: datetime.datetime


class Measured(faust.Record):
    """A measurement."""

    date: datetime.datetime
    value: float


class Average(faust.Record):
    """What a window of measurements came to."""

    date: datetime.datetime
    count: int
    mean: float


class Model(faust.Record, serializer="json"):
    """One number."""

    random: float


def at(second: float) -> datetime.datetime:
    """A time of 1970."""
    return datetime.datetime.fromtimestamp(second, tz=datetime.UTC)


def shows(client: Any, path: str, wanted: object) -> Callable[[], Awaitable[bool]]:
    """A condition: a page has this, which is read when it is in the store, a moment later."""

    async def holds() -> bool:
        return bool((await client.get(path)).json() == wanted)

    return holds


async def test_hello_world(kit: Kit, name: str) -> None:
    app = kit.app(name)
    greetings_topic = app.topic(f"{name}-greetings", value_type=str, partitions=1)
    printed: list[str] = []

    @app.agent(greetings_topic)
    async def print_greetings(greetings: faust.Stream[str]) -> None:
        async for greeting in greetings:
            printed.append(greeting)

    @app.timer(0.01)
    async def produce() -> None:
        for number in range(3):
            await greetings_topic.send(value=f"hello {number}")

    await kit.create(app)
    async with kit.running(app):
        await kit.sees(lambda: len(printed) >= 6)
    assert printed[:4] == ["hello 0", "hello 1", "hello 2", "hello 0"]


async def test_what_faust_wrote_is_read(kit: Kit, name: str) -> None:
    app = kit.app(name)
    as_bytes = app.topic(f"{name}-views", key_type=bytes, value_type=bytes, partitions=1)
    texts_as_bytes = app.topic(f"{name}-texts", value_type=bytes, partitions=1)
    seen: list[object] = []

    @app.agent(app.topic(f"{name}-views", key_type=str, value_type=PageView))
    async def views(stream: faust.Stream[PageView]) -> None:
        async for key, view in stream.items():
            seen.append((key, view))

    @app.agent(app.topic(f"{name}-texts"))
    async def texts(stream: faust.Stream[object]) -> None:
        async for text in stream:
            seen.append(text)

    await kit.create(app)
    async with kit.running(app):
        written = b'{"id":"p","user":"u","__faust":{"ns":"app.PageView"}}'
        await as_bytes.send(key=b"k", value=written)
        await kit.sees(lambda: len(seen) == 1)
        await texts_as_bytes.send(value=b'"hello"')
        await kit.sees(lambda: len(seen) == 2)
    assert seen == [("k", PageView(id="p", user="u")), "hello"]


async def test_word_count(kit: Kit, name: str) -> None:
    words = ["the", "quick", "brown", "fox"]
    app = kit.app(name, store="rocksdb://", version=1, topic_partitions=4, web_port=0)
    posts_topic = app.topic(f"{name}-posts", value_type=str)
    word_counts = app.Table("word_counts", default=int, help="Keep count of words (str to int).")
    printed: list[str] = []
    asked = asyncio.Event()

    @app.agent(posts_topic)
    async def shuffle_words(posts: faust.Stream[str]) -> None:
        async for post in posts:
            for word in post.split():
                await count_words.send(key=word, value=word)

    last_count = dict.fromkeys(words, 0)

    @app.agent(value_type=str)
    async def count_words(words: faust.Stream[str]) -> None:
        async for word in words:
            word_counts[word] += 1
            last_count[word] = word_counts[word]

    @app.page("/count/{word}/")
    @app.table_route(table=word_counts, match_info="word")
    async def get_count(web: Any, request: Any, word: str) -> Any:
        return web.json({word: word_counts[word]})

    @app.page("/last/{word}/")
    @app.topic_route(topic=posts_topic, match_info="word")
    async def get_last(web: Any, request: Any, word: str) -> Any:
        return web.json({word: last_count})

    @app.task
    async def sender() -> None:
        await posts_topic.maybe_declare()
        for word in words:
            for _ in range(10):
                await shuffle_words.send(value=f"{word} {word}")
        await asked.wait()
        printed.append(
            word_counts.as_ansitable(key="word", value="count", title="$$ TALLY $$", sort=True)
        )

    @app.on_rebalance_complete.connect
    async def on_rebalance_complete(sender: faust.App, **kwargs: Any) -> None:
        printed.append(
            word_counts.as_ansitable(
                key="word", value="count", title="$$ TALLY - after rebalance $$", sort=True
            )
        )

    async with visited(kit, app) as (_, client):
        for word in words:
            await kit.until(shows(client, f"/count/{word}/", {word: 20}))
        assert (await client.get("/last/fox/")).json() == {"fox": dict.fromkeys(words, 20)}
        asked.set()
        await kit.sees(lambda: "$$ Tally $$" in printed[-1])
    assert "$$ Tally - After Rebalance $$" in printed[0]
    shown = [line.split() for line in printed[-1].splitlines()[4:-1]]
    assert shown == [["|", word, "|", "20", "|"] for word in sorted(words)]


async def test_page_views(kit: Kit, name: str) -> None:
    app = kit.app(name, topic_partitions=4)
    page_view_topic = app.topic(f"{name}-views", value_type=PageView)
    page_views = app.Table("page_views", default=int)

    @app.agent(page_view_topic)
    async def count_page_views(views: faust.Stream[PageView]) -> None:
        async for view in views.group_by(PageView.id):
            page_views[view.id] += 1

    await page_view_topic.maybe_declare()
    async with kit.running(app):
        for number in range(12):
            await page_view_topic.send(value=PageView(id=f"p{number % 3}", user=f"u{number}"))
        await kit.until(kit.committed(app, app.repartition("count_page_views"), 12))
    found = {r.key: r.value for r in await kit.records(app.changelog("page_views"))}
    assert found == {b"p%d" % page: b"4" for page in range(3)}


async def test_withdrawals(kit: Kit, name: str) -> None:
    app = kit.app(
        name, version=5, store="rocksdb://", origin="examples.withdrawals", topic_partitions=4
    )
    withdrawals_topic = app.topic(f"{name}-withdrawals", value_type=Withdrawal)
    user_to_total = app.Table("user_to_total", default=int).tumbling(3600).relative_to_stream()
    country_to_total = (
        app.Table("country_to_total", default=int).tumbling(10.0, expires=10.0)
    ).relative_to_stream()

    @app.agent(withdrawals_topic)
    async def track_user_withdrawal(withdrawals: faust.Stream[Withdrawal]) -> None:
        async for withdrawal in withdrawals:
            user_to_total[withdrawal.user] += withdrawal.amount

    @app.agent(value_type=Withdrawal)
    async def track_country_withdrawal(withdrawals: faust.Stream[Withdrawal]) -> None:
        async for withdrawal in withdrawals.group_by(Withdrawal.country):
            country_to_total[withdrawal.country] += withdrawal.amount

    @app.command(
        option("--max-latency", type=float, default=0.5, envvar="PRODUCE_LATENCY", help="Delay."),
        option("--max-messages", type=int, default=None, help="Send at most N messages."),
    )
    async def produce(self: Any, max_latency: float, max_messages: int) -> None:
        for i in range(max_messages):
            withdrawal = Withdrawal(user="u", country="no", amount=1.5, date=at(i))
            # At times of its own, and to the second agent, too, which the example never feeds.
            for to in (withdrawals_topic, track_country_withdrawal):
                await to.send(key=withdrawal.user, value=withdrawal, timestamp=float(i))
            if not i % 10000:
                self.say(f"+SEND {i}")
            if max_latency:
                await asyncio.sleep(max_latency)

    for topic in app.topics.values():
        await topic.maybe_declare()
    async with kit.running(app):
        own = app.repartition("track_country_withdrawal")
        await app.commands["produce"].run(app, {"max_latency": 0.0, "max_messages": 20})
        await kit.until(kit.committed(app, withdrawals_topic.name, 20))
        await kit.until(kit.committed(app, own, 20))
    found = {
        table: {row.key: row.value for row in await kit.records(app.changelog(table))}
        for table in ("user_to_total", "country_to_total")
    }
    windows = found["user_to_total"].pop(WRITTEN_AS_KEY)
    assert windows.startswith(b"\xffwindows of 3600000 ms")
    assert found["user_to_total"] == {b"u@0000000000000000": b"30.0"}
    assert found["country_to_total"][b"no@0000000000010000"] == b"15.0"


async def test_rpc(kit: Kit, name: str) -> None:
    app = kit.app(name, reply_create_topic=True, topic_partitions=1)
    pow_topic = app.topic(f"{name}-pow")
    mul_topic = app.topic(f"{name}-mul")

    @app.agent(pow_topic)
    async def pow(stream: faust.StreamT[float]) -> AsyncIterable[float]:
        async for value in stream:
            yield await mul.ask(value=value**2)

    @app.agent(mul_topic)
    async def mul(stream: faust.StreamT[float]) -> AsyncIterable[float]:
        async for value in stream:
            yield value * 100.0

    await kit.create(app)
    async with kit.running(app):
        assert await pow.join([3.0, 4.0, 5.0]) == [900.0, 1600.0, 2500.0]
        assert sorted([value async for value in pow.map([2.0, 1.0])]) == [100.0, 400.0]


class Gone(Exception):
    """A process has died."""


async def test_rpc_through_a_restart_of_either_side(kit: Kit, name: str) -> None:
    began, lives = asyncio.Event(), [1]

    def declare() -> tuple[faust.App, faust.Agent[float]]:
        app = kit.app(name, reply_create_topic=True, topic_partitions=1)
        pow_topic = app.topic(f"{name}-pow")
        mul_topic = app.topic(f"{name}-mul")

        @app.agent(pow_topic)
        async def pow(stream: faust.StreamT[float]) -> AsyncIterable[float]:
            async for value in stream:
                found = await mul.ask(value=value**2)
                if lives[0] == 1:
                    began.set()
                    await asyncio.Event().wait()
                yield found

        @app.agent(mul_topic)
        async def mul(stream: faust.StreamT[float]) -> AsyncIterable[float]:
            async for value in stream:
                yield value * 100.0

        return app, pow

    asker, pow = declare()
    await kit.create(asker)
    asking = asyncio.create_task(pow.ask(3.0))
    # The side that answers dies when it has asked the other agent, and has not answered yet.
    with suppress(Gone):
        async with kit.running(declare()[0]):
            await began.wait()
            raise Gone
    lives[0] = 2
    async with kit.running(declare()[0]):
        assert await asking == 900.0
        # The side that asks dies, and the next one asks again: its own replies alone are for it.
        await pow.ask_nowait(4.0)
        await asker.close()
        _, pow_again = declare()
        assert await pow_again.join([4.0, 5.0]) == [1600.0, 2500.0]


async def test_windowed_aggregation(kit: Kit, name: str) -> None:
    app = kit.app(name, version=1, topic_partitions=1)
    app.conf.table_cleanup_interval = 1.0
    source = app.topic(f"{name}-raw", value_type=Measured)
    sink = app.topic(f"{name}-agg", value_type=Average)

    def window_processor(key: Any, events: list[Measured]) -> None:
        timestamp = key[1][0]
        values = [event.value for event in events]
        count = len(values)
        mean = sum(values) / count
        sink.send_soon(value=Average(date=timestamp, count=count, mean=mean))

    tumbling_table = (
        app.Table(
            "tumbling_table",
            default=list,
            partitions=1,
            on_window_close=window_processor,
        )
        .tumbling(10, expires=datetime.timedelta(seconds=1))
        .relative_to_field(Measured.date)
    )

    @app.agent(source)
    async def print_windowed_events(stream: faust.Stream[Measured]) -> None:
        async for event in stream:
            value_list = tumbling_table["events"].value()
            value_list.append(event)
            tumbling_table["events"] = value_list

    await source.declare()
    for life in (1, 2):  # what the second one brings is late
        async with kit.running(app):
            for second in range(32):
                await source.send(value=Measured(date=second, value=float(second)))
            await kit.until(kit.count(sink.name, 3))
            await kit.until(kit.committed(app, source.name, 32 * life))
    averages = [Average.loads(value or b"") for value in await kit.values(sink.name)]
    assert [(each.date, each.count, each.mean) for each in averages] == [
        (at(0.0), 10, 4.5), (at(10.0), 10, 14.5), (at(20.0), 10, 24.5),
    ]  # fmt: skip


async def test_tumbling(kit: Kit, name: str) -> None:
    app = kit.app(name)
    tumbling_topic = app.topic(f"{name}-tumbling", value_type=Model)
    tumbling_table = app.Table("tumbling_table", default=int).tumbling(
        10, expires=datetime.timedelta(minutes=10)
    )
    seen: list[tuple[int, int, int, int]] = []

    @app.agent(tumbling_topic)
    async def print_windowed_events(stream: faust.Stream[Model]) -> None:
        async for _ in stream:
            tumbling_table["counter"] += 1
            value = tumbling_table["counter"]
            seen.append((value.current(), value.value(), value.delta(30), value.now()))

    await tumbling_topic.declare()
    async with kit.running(app):
        for second in range(0, 60, 2):
            await tumbling_topic.send(value=Model(random=0.5), timestamp=float(second))
        await kit.sees(lambda: len(seen) == 30)
    assert [each[0] for each in seen] == [1, 2, 3, 4, 5] * 6
    assert [each[1] for each in seen] == [1, 2, 3, 4, 5] * 6
    assert [each[2] for each in seen] == [0] * 15 + [5] * 15
    assert {each[3] for each in seen} == {0}  # the clock is not in 1970
