"""What a new user gets wrong: each is refused where it is written, with cause and remedy."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.errors import LONGEST_REASON, reason
from flowstream.processing.streams.stateful import GroupBy
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit

Declare = Callable[[Any], object]


class Opaque:
    """Nothing that JSON knows."""


@pytest.fixture
def app() -> fs.App:
    return fs.App("shop", broker="kafka://127.0.0.1:1")


async def reads(stream: Any) -> None:
    async for _ in stream:
        pass


async def takes_nothing() -> None:
    pass


async def takes_two(stream: Any, table: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda app: app.agent("orders"), r"takes a topic, not 'orders' \(a str\): .*app.topic"),
        (lambda app: app.agent(reads), r"needs the topic .*`@app.agent\(topic\)`"),
        (lambda app: app.agent(app.topic("t"), sink=["x"]), r"a sink is .*, not 'x' \(a str\)"),
        (lambda app: app.agent(app.topic("t"), sink="x"), r"takes a list, .*`sink=\[topic\]`"),
        (lambda app: app.agent(app.topic("t"), sink=app.topic("t")), r"takes a list"),
        (lambda app: app.agent(app.topic("t"), name=5)(reads), "the name must be a text"),
        (lambda app: app.agent(app.topic("t"))(takes_nothing), r"write `async def takes_nothing\("),
        (lambda app: app.agent(app.topic("t"))(takes_two), "argument: 'table'"),
        (lambda app: app.Table("t", default=0), r"a function or a type, .* write default=int"),
        (lambda app: app.Table("t", default=[]), "write default=list"),
        (lambda app: app.Table("t", default=7), "write default=lambda: 7"),
        (lambda app: app.Table("t", partitions=0), "a whole number from 1 on, not 0"),
        (lambda app: app.Table("t", value_type=Opaque), "make it a pydantic model"),
        (lambda app: app.Table("my table"), "'my table' is not usable: .*use letters, digits"),
        (lambda app: app.Table(".."), "not usable"),
        (lambda app: app.Table(5), "a table's name must be a text, not 5"),
        (lambda app: app.Table("t" * 240), "has 255 characters, at most 249"),
        (lambda app: app.Timers("my timers", value_type=str), "'my timers' is not usable"),
        (lambda app: app.Timers("t", value_type=str, partitions=0), "a whole number from 1 on"),
        (lambda app: app.Table("t").tumbling(0), "table 't': .*at least one millisecond"),
        (lambda app: app.Table("t").tumbling("60"), "seconds or a timedelta, not '60'"),
        (lambda app: app.Table("t").hopping(1, float("nan")), "not nan"),
        (lambda app: app.Table("t").hopping(10, 20), "would lose events between windows"),
        (lambda app: app.Table("t").tumbling(1, expires=-1), "must not be negative"),
        (lambda app: app.Table("t", ttl=True), "seconds or a timedelta, not True"),
        (lambda app: app.table(app.topic("t"), history=0), "table 't': history must be at least"),
        (lambda app: app.SetTable("t", manager_topic_name="m"), "say start_manager=True, too"),
        (lambda app: app.SetGlobalTable("t", manager_topic_suffix="-m"), "say start_manager=True"),
        (lambda app: app.topic("t", out_of_orderness=-1), "out_of_orderness must not be negative"),
        (lambda app: app.topic("t", retention=0), "topic 't': retention must be at least"),
        (
            lambda app: (app.topic("t", partitions=1, retention=5), app.topic("t", retention=9)),
            "topic 't' is declared with two configurations, .*'5000'.* and .*'9000'",
        ),
        (lambda app: app.Table("t", migrate="x"), r"table 't': migrate is a function, not 'x'"),
        (lambda app: app.Table("t", on_recover=5), "table 't': on_recover is a function, not 5"),
        (lambda app: app.Table("t", default=int).tumbling(5).changes, "has windows: .*`closed`"),
        (lambda app: app.SetTable("t").changes, "table 't' holds sets, .*frozenset"),
        (lambda app: app.join(app.Table("t"), app.topic("u")), "takes two tables, not Topic"),
        (lambda app: app.join(app.SetTable("t"), app.Table("u"), on=str), "not SetTable"),
        (lambda app: app.topic("my topic"), "'my topic' cannot be a topic's name; use letters"),
        (lambda app: app.topic(""), "cannot be a topic's name"),
        (lambda app: app.topic("t" * 250), "has 250 characters, at most 249"),
        (lambda app: app.topic("t", partitions="4"), r"not '4' \(a str\)"),
        (lambda app: app.topic("t", config={"retention.ms": 5}), "write 'retention.ms': '5'"),
        (lambda app: app.topic("t", config="x"), "config must be a dict"),
        (lambda app: app.topic("t", value_type=Opaque), "make it a pydantic model"),
        (
            lambda app: app.topic("t", schema={}),
            r"schema= is an object, fs.Schema\(value_type=.*not",
        ),
        (lambda app: app.topic("t", schema=fs.Schema), "topic 't': schema= is an object"),
        (lambda app: app.Table("t", schema="s"), "table 't': schema= is an object"),
        (lambda app: app.agent(schema=5)(reads), "schema= is an object"),
        (lambda app: app.crontab(reads), r"needs its times: write `@app\.crontab\('0 6"),
        (lambda app: app.crontab(5), "5 is no cron expression"),
        (
            lambda app: app.timer(reads),
            r"`@app\.timer` needs its seconds: write `@app\.timer\(10\)`",
        ),
        (lambda app: app.page(reads), r"`@app\.page` needs its path: write `@app\.page\('/orders'"),
        (lambda app: app.page(5), "a page's path is a text, not 5"),
        (lambda app: app.join("a", "b"), r"app\.join takes two tables, not 'a' \(a str\)"),
        (lambda _: fs.retry("3"), r"retry: times is a whole number, or None, not '3'"),
        (lambda _: fs.park(True), "park: times is a whole number, or None, not True"),
        (lambda app: app.crontab("* * * * *", timezone=2), "a time zone is a name, .* not 2"),
        (lambda app: app.command(name=5)(takes_nothing), "5 is no name of a command"),
        (lambda _: fs.App(5), "app id 5 is not usable"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_declaration_is_refused_at_once(app: fs.App, declare: Declare, message: str) -> None:
    with pytest.raises(fs.AppError, match=message):
        declare(app)


def test_a_regrouping_agent_whose_name_makes_no_topic_is_refused(app: fs.App) -> None:
    agent: fs.Agent[Any] = app.agent(app.topic("t", partitions=1), name="by shop")(reads)
    make_plan(app, {})
    agent.group = GroupBy(len, None, None, None)
    with pytest.raises(fs.AppError, match=r"'by shop' \(group_by's name\).*use letters"):
        make_plan(app, {})


def test_timers_that_nobody_reads_are_refused(app: fs.App) -> None:
    app.agent(app.topic("t", partitions=1))(reads)
    timers = app.Timers("late", value_type=str)
    with pytest.raises(fs.AppError, match=r"Timers\('late'\) would never fire: write an agent"):
        make_plan(app, {})
    app.agent(timers, name="remind")(reads)
    make_plan(app, {})


def test_an_agent_may_read_the_topic_of_another_app(app: fs.App) -> None:
    app.agent(fs.App("other").topic("t", partitions=2, config={"retention.ms": "9"}))(reads)
    (topic,) = make_plan(app, {}).create
    assert (topic.name, topic.partitions, topic.config) == ("t", 2, {"retention.ms": "9"})


def test_one_of_a_topics_declarations_may_leave_its_configuration_out(app: fs.App) -> None:
    app.topic("first", partitions=1, retention=5)
    app.topic("first")
    app.topic("second")
    app.topic("second", partitions=1, retention=5)
    app.topic("third", retention=5)
    app.topic("third", partitions=1)
    assert {app.topics[name].config["retention.ms"] for name in ("first", "second", "third")} == {
        "5000"
    }


async def no_within(stream: Any) -> None:
    async for _ in stream.take(3):
        pass


async def nothing_to_take(stream: Any) -> None:
    async for _ in stream.take(0, within=1):
        pass


async def synchronous(stream: Any) -> None:
    for _ in stream:
        pass


async def synchronous_sink(stream: Any) -> AsyncIterator[Any]:
    for value in stream:
        yield value


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_within, r"say how long, e.g. take\(3, within=1.0\)"),
        (nothing_to_take, "a maximum of at least 1, not 0"),
        (synchronous, "write `async for value in stream:`"),
        (synchronous_sink, "write `async for value in stream:`"),
    ],
)
async def test_what_an_agent_gets_wrong_before_it_reads(
    app: fs.App, function: Any, message: str
) -> None:
    agent: fs.Agent[Any] = app.agent(app.topic("t"))(function)
    with pytest.raises(fs.AppError, match=message):
        await agent.probe()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s, _: s.take(5, within=-1), "take's within must not be negative"),
        (lambda s, _: s.session(5, grace=-1).count(), "a session's grace must not be negative"),
        (lambda s, _: s.sliding(5, grace=-1).count(), "a window's grace must not be negative"),
        (lambda s, _: s.tumbling(5, emit=True).count(), "seconds or a timedelta, not True"),
        (lambda s, _: s.tumbling(5).count().tumbling(5).count(), "windows comes first.* yield it"),
        (lambda s, _: s.tumbling(5).count().filter(bool).dedupe(5), "dedupe comes first"),
        (lambda s, app: s.join(app.topic("u"), within=5).tumbling(5).count(), "comes first"),
        (lambda s, app: s.join(app.topic("u"), within=5).group_by(str), "group_by comes first"),
        (lambda s, _: s.group_by(str).group_by(str), "group_by comes first, and once"),
        (lambda s, _: s.dedupe(5).group_by(str), "dedupe comes after group_by"),
        (lambda s, _: s.group_by(5), r"or the name of its field, not 5 \(an int\)"),
        (lambda s, _: s.group_by(str, partitions=0), "group_by: partitions must be a whole number"),
        (lambda s, _: s.group_by(str, partitions="4"), r"not '4' \(a str\)"),
        (lambda s, _: s.echo("out"), r"echo takes topics, not 'out' \(a str\)"),
        (lambda s, _: s.through("out"), r"through takes a topic, not 'out' \(a str\)"),
        (lambda s, _: s.join("t", within=5), r"join takes a topic or a table, not 't' \(a str\)"),
        (lambda s, app: s.join(app.SetTable("u")), "join takes a topic or a table, not"),
        (lambda s, app: s.join(app.topic("u"), within=(1, 2, 3)), r"or \(before, after\)"),
        (lambda s, app: s.join(app.Table("u"), grace=5), "as_of=True"),
        (lambda s, app: s.join(app.Table("u"), late="dead_letter"), "no late= and no name="),
        (lambda s, app: s.join(app.Table("u"), name="x"), "no late= and no name="),
        (lambda s, app: s.through(app.topic("t")), "its own records again for ever: it reads 't'"),
        (lambda s, app: s.join(app.topic("u"), within=5, as_of=True), "as_of= is for a join with"),
        (lambda s, _: s.tumbling(5), r"do not say what they keep: .*tumbling\(60\).count\(\)"),
        (lambda s, _: s.tumbling(5).aggregate(n=fs.Count), "takes an aggregate, .* not <class"),
        (lambda s, _: s.tumbling(5).aggregate(n=5), r"aggregate\(n=...\) takes an aggregate, .* 5"),
        (lambda s, _: s.tumbling(5).reduce(5, type=int), "reduce: .* is a function, not 5"),
        (lambda s, _: s.tumbling(5).aggregate(n=fs.Distinct(log2k=99)), "log2k is from 4 to 21"),
        (lambda s, app: s.join(app.table(app.topic("u"), history=5), as_of=True, grace=-1),
         "a join's grace must not be negative"),
    ],
)  # fmt: skip
async def test_what_an_operator_cannot_do_is_refused_before_the_worker_runs(
    app: fs.App, use: Any, message: str
) -> None:
    @app.agent(app.topic("t"))
    async def agent(stream: fs.Stream[Any]) -> None:
        async for _ in use(stream, app):
            pass

    with pytest.raises(fs.AppError, match=message):
        await agent.probe()


@pytest.mark.parametrize(
    "use",
    [
        lambda s, app: s.echo(app.topic("u"), app.channel()),
        lambda s, app: s.take(5, within=0),
        lambda s, app: s.group_by(str).filter(bool).dedupe(5).tumbling(5).count().items(),
        lambda s, app: s.filter(bool).join(app.Table("u"), grace=0.0).take(5, within=1),
    ],
)
async def test_what_operators_can_do_is_not(app: fs.App, use: Any) -> None:
    @app.agent(app.topic("t"))
    async def agent(stream: fs.Stream[Any]) -> None:
        async for _ in use(stream, app):
            pass

    await agent.probe()


async def test_what_an_agent_raises_before_it_reads_is_its_failure(app: fs.App) -> None:
    @app.agent(app.topic("t"))
    async def early(stream: fs.Stream[Any]) -> None:
        raise LookupError("no database")

    with pytest.raises(fs.AgentFailed, match=r"'early' failed before .*LookupError: no database"):
        await early.probe()


Body = Callable[[Any, Any, Any], Any]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda t, n, _: t[5], "a key of table 'totals': expected str, got int: 5; convert it, or"),
        (lambda t, n, _: t.__setitem__(5, 1), "declare key_type=int"),
        (lambda t, n, _: t.get(5), "a key of table 'totals'"),
        (lambda t, n, _: t.setdefault(5, 1), "a key of table 'totals'"),
        (lambda t, n, _: t.pop(5), "a key of table 'totals'"),
        (lambda t, n, _: t.__delitem__(5), "a key of table 'totals'"),
        (
            lambda t, n, _: t.__setitem__("a", "1"),
            "holds int or float values; key 'a' was given str: '1'; convert it, or declare value",
        ),
        (lambda t, n, _: n.__setitem__("a", 5), "'names' holds str values; key 'a' was given int"),
        (lambda t, n, w: w[5].current(), "a key of table 'hourly': expected str, got int: 5"),
    ],
)
async def test_a_wrong_key_or_value_names_its_table(
    kit: Kit, name: str, use: Body, message: str
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    totals: Any = app.Table("totals", default=int)
    names: Any = app.Table("names", value_type=str)
    hourly: Any = app.Table("hourly", default=int).tumbling(3600)

    @app.agent(words)
    async def wrong(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            use(totals, names, hourly)

    worker = fs.Worker(app, kit.address)
    await kit.admin.create_topics([NewTopic(words.name, 1)])
    await words.send(key="k", value="v")
    with pytest.raises(fs.AgentFailed, match=message):
        await worker.run()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (5, "v", "a key of topic '.*': expected str, got int: 5; convert it, or declare key_type"),
        ("k", 5, "a value of topic '.*': expected str, got int: 5; .* declare value_type=int"),
        ("k", "\ud800", "a value of topic '.*': .*surrogates not allowed"),
    ],
)
async def test_a_wrong_record_names_its_topic(
    app: fs.App, key: Any, value: Any, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        await app.topic("t", key_type=str, value_type=str).send(key=key, value=value)


async def test_a_yielded_value_of_another_type_names_the_sink(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[Any]:
        async for word in stream:
            yield len(word)

    await kit.admin.create_topics([NewTopic(words.name, 1)])
    await words.send(key="k", value="v")
    with pytest.raises(fs.AgentFailed, match=f"a value of topic '{name}-out': expected str"):
        await fs.Worker(app, kit.address).run()


@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
async def test_S11_the_log_says_why_an_event_was_passed_over(
    kit: Kit, name: str, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)

    @app.agent(words, on_error=policy)
    async def fail(stream: fs.Stream[str]) -> None:
        async for word in stream:
            raise LookupError(f"no\n  {word}")

    await kit.admin.create_topics([NewTopic(words.name, 1)])
    await words.send(key="k", value="v")
    with caplog.at_level(logging.WARNING, "flowstream.agent"):
        await kit.run_until(app, kit.committed(app, words.name, 1))
    (line,) = [r.getMessage() for r in caplog.records if r.name == "flowstream.agent"]
    assert f"{name}-in-0 offset 0" in line
    assert line.endswith(": LookupError: no v")


def test_a_long_reason_is_cut() -> None:
    assert reason(ValueError("x" * 1000)) == "ValueError: " + "x" * (LONGEST_REASON - 12) + "..."


def test_an_agent_without_a_topic_has_one_of_its_own() -> None:
    app = fs.App("shop", topic_partitions=3)

    @app.agent(value_type=int, key_type=str)
    async def count(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.agent(name="any", schema=fs.Schema(value_type=bytes))
    async def more(stream: fs.Stream[bytes]) -> None:
        async for _ in stream:
            pass

    topic = count.source_topic
    assert app.topics == {"shop-count": topic, "shop-any": more.source_topic}
    assert (topic.key_type, topic.value_type, topic.partitions) == (str, int, None)
    assert more.source_topic.value_type is bytes


@pytest.mark.parametrize("name", ["replies", "dead-letters", "sums-changelog", "a-repartition"])
def test_a_topic_of_its_own_is_none_of_those_that_we_make(name: str) -> None:
    with pytest.raises(fs.AppError, match="would be among those that we make: pass another name="):
        fs.App("shop").agent(name=name)(reads)


def test_the_types_of_an_agent_are_those_of_its_topic() -> None:
    app = fs.App("shop")
    with pytest.raises(fs.AppError, match=r"say them in app\.topic\(\.\.\.\)"):
        app.agent(app.topic("orders"), value_type=int)  # type: ignore[call-overload]
