"""Topics by a pattern: what it matches, what is planned of it, and what one cannot be."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.duties.matching import matched
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.running.plan import Plan, Stage


@pytest.fixture
def app() -> fs.App:
    return fs.App("shop", broker="kafka://127.0.0.1:1")


async def planned(app: fs.App, existing: dict[str, int]) -> Plan:
    for agent in app.agents.values():
        await agent.probe()
    return make_plan(app, existing)


def echo_on(app: fs.App, *topics: Any, name: str = "echo", **options: Any) -> fs.Agent[Any]:
    async def echo(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            yield value

    return app.agent(*topics, name=name, **options)(echo)


async def test_a_pattern_is_every_topic_whose_whole_name_matches(app: fs.App) -> None:
    orders = app.topic(pattern="orders-[a-z]+", key_type=str, value_type=int)
    echo_on(app, orders)
    existing = {"orders-us": 2, "orders-eu": 2, "orders-eu2": 2, "old-orders-eu": 2, "x": 1}
    plan = await planned(app, existing)
    assert plan.sources == {"orders-eu": 2, "orders-us": 2}
    assert plan.matched == {"orders-eu", "orders-us"}
    assert [reader.topic for reader in plan.readers] == ["orders-eu", "orders-us"]
    for reader in plan.readers:
        assert reader.source is not None
        assert (reader.source.name, reader.source.pattern) == (reader.topic, None)
        assert reader.source.value_codec is orders.value_codec
    assert plan.create == plan.waiting == ()


async def test_neither_the_clusters_own_topics_nor_the_apps_match(app: fs.App) -> None:
    out = app.topic("out")
    through = app.topic("through", value_type=str)
    everything = app.topic(pattern=re.compile(".*"))
    echo_on(app, everything, sink=[out, app.topic("other")])
    app.Table("totals", default=int)

    @app.agent()
    async def own(stream: fs.Stream[Any]) -> None:
        async for _ in stream.through(through):
            pass

    app.topic("asked", partitions=1)
    ours = [
        "out", "other", "through", "shop-own", "shop-totals-changelog", "shop-x-repartition",
        "shop-dead-letters", "shop-replies", "shop-leader", "shop-s-setmanager",
        "shop-j-subscriptions", "shop-j-answers",
    ]  # fmt: skip
    existing = dict.fromkeys([*ours, "__consumer_offsets", "__x", "in", "shop", "shop-in"], 1)
    plan = await planned(app, existing)
    assert plan.matched == {"in", "shop", "shop-in", "asked"}, "what is declared may be read"
    assert matched(app, ours) == frozenset()


async def test_a_sink_is_read_where_it_is_named_beside_the_pattern(app: fs.App) -> None:
    out = app.topic("orders-out")
    echo_on(app, app.topic(pattern="orders-.*"), name="first", sink=[out])
    echo_on(app, app.topic(pattern="orders-.*"), out, name="second")
    plan = await planned(app, {"orders-in": 1, "orders-out": 1})
    read = [(reader.agent.name, reader.topic) for reader in plan.readers]
    assert read == [("first", "orders-in"), ("second", "orders-out"), ("second", "orders-in")]
    assert plan.matched == {"orders-in"}, "what is named is not there for a pattern alone"


async def test_a_topic_is_read_once_by_an_agent_that_has_it_in_two_ways(app: fs.App) -> None:
    orders = app.topic("orders-eu", value_type=str)
    echo_on(app, app.topic(pattern="orders-.*"), app.topic(pattern=".*-eu"), orders)
    plan = await planned(app, {"orders-eu": 1, "orders-us": 1, "returns-eu": 1})
    assert [(r.topic, r.source is orders) for r in plan.readers] == [
        ("orders-eu", True), ("orders-us", False), ("returns-eu", False),
    ]  # fmt: skip


async def test_what_the_app_declares_is_made_and_read(app: fs.App) -> None:
    echo_on(app, app.topic(pattern="orders-.*"))
    app.topic("orders-eu", partitions=3)
    app.topic("orders-us")
    plan = await planned(app, {})
    assert plan.sources == {"orders-eu": 3}
    assert [each.name for each in plan.create] == ["orders-eu", "orders-us"]
    again = await planned(app, {"orders-eu": 3, "orders-us": 1})
    assert again.sources == {"orders-eu": 3, "orders-us": 1}


async def test_an_agent_whose_pattern_matches_nothing_waits_while_others_work(app: fs.App) -> None:
    echo_on(app, app.topic(pattern="orders-.*"), app.topic(pattern="returns-.*"))
    assert (await planned(app, {})).sources == {"shop-leader": 1}
    echo_on(app, app.topic("words"), name="second")
    plan = await planned(app, {"words": 4})
    assert plan.sources == {"words": 4}
    assert plan.waiting == (
        "agent 'echo' waits for a topic that matches /orders-.*/ or /returns-.*/",
    )
    assert plan.held_by == ""


@pytest.mark.parametrize("partitions", [None, 1, 4])
async def test_S8_no_table_is_placed_before_a_topic_matches(
    app: fs.App, partitions: int | None
) -> None:
    echo_on(app, app.topic(pattern="orders-.*"))
    app.Table("totals", default=int, partitions=partitions)
    plan = await planned(app, {})
    assert (plan.sources, plan.tables, plan.held_by) == ({"shop-leader": 1}, (), "table 'totals'")
    assert [each.name for each in plan.create] == ["shop-leader"], "no changelog with a guess"
    known = await planned(app, {"orders-eu": partitions or 4, "shop-leader": 1})
    assert (known.sources, known.held_by) == ({"orders-eu": partitions or 4}, "")
    assert [table.partitions for table in known.tables] == [partitions or 4]


async def test_V2_an_app_that_waits_as_a_whole_knows_what_matches_already(app: fs.App) -> None:
    """What is also read by its name was news at each look, and the plan was made anew for ever."""
    echo_on(app, app.topic("orders-eu", partitions=2), name="by_name")
    echo_on(app, app.topic(pattern="orders-.*"))
    echo_on(app, app.topic(pattern="returns-.*"), name="waits")
    app.Table("totals", default=int)
    for existing in ({}, {"orders-eu": 2, "orders-us": 2}):
        plan = await planned(app, existing)
        assert plan.held_by == "table 'totals'"
        there = {*existing, *(each.name for each in plan.create)}
        assert matched(app, there) <= plan.matched | plan.sources.keys()


@pytest.mark.parametrize(
    ("existing", "held_by"),
    [
        ({"words": 1}, "table 'totals'"),
        ({"words": 1, "shop-totals-changelog": 4}, "table 'totals'"),
        ({"words": 4, "shop-totals-changelog": 4}, ""),
    ],
)
async def test_S8_a_table_is_not_placed_by_the_topics_of_others_while_an_agent_waits(
    app: fs.App, existing: dict[str, int], held_by: str
) -> None:
    echo_on(app, app.topic(pattern="orders-.*"))
    echo_on(app, app.topic("words"), name="second")
    app.Table("totals", default=int)
    plan = await planned(app, existing)
    assert plan.held_by == held_by
    assert (plan.sources == {"words": 4}) is (held_by == "")


async def test_S8_what_a_waiting_agent_keeps_itself_is_not_placed(app: fs.App) -> None:
    @app.agent(app.topic(pattern="orders-.*", key_type=str, value_type=int))
    async def count(stream: fs.Stream[int]) -> None:
        async for _ in stream.tumbling(60).count():
            pass

    assert (await planned(app, {})).held_by == "what agent 'count' keeps"
    assert (await planned(app, {"orders-eu": 2})).tables[0].partitions == 2


async def test_what_was_re_keyed_is_read_to_its_end_when_its_topics_are_gone(app: fs.App) -> None:
    @app.agent(app.topic(pattern="orders-.*", key_type=str, value_type=str))
    async def regroup(stream: fs.Stream[str]) -> None:
        async for _ in stream.group_by(lambda word: word[0]):
            pass

    assert (await planned(app, {})).readers == ()
    plan = await planned(app, {"shop-regroup-repartition": 2})
    assert [(r.topic, r.stage) for r in plan.readers] == [
        ("shop-regroup-repartition", Stage.GROUPED)
    ]


async def test_topics_with_different_numbers_of_partitions_have_no_state(app: fs.App) -> None:
    echo_on(app, app.topic(pattern="orders-.*"))
    existing = {"orders-eu": 2, "orders-us": 3}
    assert (await planned(app, existing)).sources == existing

    @app.agent(app.topic(pattern="orders-.*", key_type=str, value_type=int))
    async def count(stream: fs.Stream[int]) -> None:
        async for _ in stream.tumbling(60).count():
            pass

    told = r"'count' keeps state .*orders-eu: 2, orders-us: 3.* or have a pattern that leaves out"
    with pytest.raises(fs.PartitionMismatch, match=told):
        await planned(app, existing)


async def test_a_dedupe_over_a_pattern_takes_turns(app: fs.App) -> None:
    @app.agent(app.topic(pattern="orders-.*", value_type=str))
    async def once(stream: fs.Stream[str]) -> None:
        async for _ in stream.dedupe(60, by=str):
            pass

    await once.probe()
    assert once.takes_turns, "several instances of a task write the same rows"


def test_event_time_is_of_the_pattern(app: fs.App) -> None:
    class Order(fs.Record):
        at: float

    orders = app.topic(pattern="orders-.*", value_type=Order, timestamp="at", out_of_orderness=2)
    one = orders.named("orders-eu")  # type: ignore[attr-defined]
    assert (one.timestamp, one.disorder_ms, one.event_ms) == ("at", 2_000, orders.event_ms)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "x", "pattern": "y"}, "a topic has a name, or a pattern"),
        ({"pattern": "orders-("}, "no regular expression: missing .* at position 7"),
        ({"pattern": 5}, r"a regular expression as a text or a re.Pattern, not 5 \(an int\)"),
        ({"pattern": re.compile(b"x")}, "a regular expression as a text"),
        ({"pattern": "x", "partitions": 3}, r"pattern=..., partitions=\): what matches is read"),
        ({"pattern": "x", "config": {"retention.ms": "1"}}, "config= of a topic by its name"),
        ({"pattern": "x", "replicas": 3}, "replicas= of a topic by its name"),
        ({"pattern": "x", "compacting": True}, "compacting= of a topic by its name"),
        ({"pattern": "x", "internal": True}, "internal= of a topic by its name"),
    ],
)
def test_what_a_pattern_cannot_be(app: fs.App, options: dict[str, Any], told: str) -> None:
    with pytest.raises(fs.AppError, match=told):
        app.topic(**options)
    assert app.topics == {}
    assert app.patterns == []


def test_a_topic_without_name_and_pattern(app: fs.App) -> None:
    with pytest.raises(TypeError, match=r"without name: write App.topic\(name, ...\), or App"):
        app.topic()


async def test_nothing_is_sent_to_a_pattern(app: fs.App) -> None:
    orders = app.topic(pattern="orders-.*", value_type=int)
    agent = echo_on(app, orders)
    told = r"Topic\(pattern='orders-\.\*'\) does not say which topic .*derive\(name='NAME'\)"
    for send in (orders.send, orders.send_soon, agent.send, agent.cast):
        with pytest.raises(fs.AppError, match=told):
            send(value=1)
    with pytest.raises(fs.AppError, match=told):
        await app.send(orders, value=1)
    with pytest.raises(fs.AppError, match=told):
        await agent.ask(1)
    with pytest.raises(fs.AppError, match="is made by its name"):
        await orders.declare()
    with pytest.raises(fs.AppError, match="has no name of its own"):
        orders.get_topic_name()
    assert orders.topics == []


async def test_a_pattern_is_no_sink(app: fs.App) -> None:
    orders = app.topic(pattern="orders-.*")
    echo_on(app, app.topic("in", partitions=1), sink=[orders])
    with pytest.raises(fs.AppError, match="does not say which topic a record goes to"):
        await planned(app, {})


async def test_what_takes_one_topic_takes_no_pattern(app: fs.App) -> None:
    orders = app.topic(pattern="orders-.*", key_type=str, value_type=int)
    with pytest.raises(fs.AppError, match=r"app.table takes one topic, by its name"):
        app.table(orders, name="orders")
    with pytest.raises(fs.AppError, match=r"@app.outbox takes one topic, by its name"):
        app.outbox(orders, to=fs.SQLite("x.db"))

    @app.agent(app.topic("left", key_type=str, value_type=int, partitions=1))
    async def joins(stream: fs.Stream[int]) -> None:
        async for _ in stream.join(orders, within=5):
            pass

    with pytest.raises(fs.AppError, match="agent 'joins' joins with, or goes through, Topic"):
        await planned(app, {"orders-eu": 1})


async def test_as_of_joins_over_a_pattern_are_refused(app: fs.App) -> None:
    rates = app.table(app.topic("rates", key_type=str, value_type=int, partitions=1), history=60)

    @app.agent(app.topic(pattern="orders-.*", key_type=str, value_type=int))
    async def joins(stream: fs.Stream[int]) -> None:
        async for _ in stream.join(rates, as_of=True):
            pass

    with pytest.raises(fs.AppError, match=r"'joins' reads Topic.*is of one topic"):
        await planned(app, {"orders-eu": 1})


async def test_a_topic_with_another_event_time_than_its_pattern_is_refused(app: fs.App) -> None:
    echo_on(app, app.topic(pattern="orders-.*", timestamp=lambda value: 1.0))
    app.topic("orders-eu", partitions=1)
    with pytest.raises(fs.AppError, match="'orders-eu' is declared with another event time"):
        await planned(app, {})


def test_topics_are_derived_from_a_pattern(app: fs.App) -> None:
    orders = app.topic(pattern="orders-.*", key_type=str, value_type=int)
    one = orders.derive(name="orders-eu")
    assert (one.name, one.value_type, one.pattern) == ("orders-eu", int, None)
    assert app.topics == {"orders-eu": one}
    words = orders.derive(value_type=str)
    assert (words.pattern, words.value_type, words.key_type) == (orders.pattern, str, str)
    assert words.get_topic_name.__self__ is words
    for changes, told in (({"prefix": "x"}, "no prefix"), ({"partitions": 3}, "cannot be other")):
        with pytest.raises(fs.AppError, match=told):
            orders.derive(**changes)


def test_a_serializer_of_the_app_is_said_before_its_patterns(app: fs.App) -> None:
    app.topic(pattern="orders-.*")
    told = "is looked at when a topic is declared, as /orders-.*/ has been"
    with pytest.raises(fs.SettingsError, match=re.escape(told)):
        app.conf.value_serializer = "raw"
