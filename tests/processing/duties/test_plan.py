"""The plan: what runs on which topics, what is created, and what is refused with the remedy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.running.plan import LETTERS, Stage
from flowstream.processing.streams.stream import GroupBy


@pytest.fixture
def app() -> fs.App:
    return fs.App("shop", broker="kafka://127.0.0.1:1")


def agent_on(app: fs.App, topic: fs.Topic[object, object], **options: object) -> fs.Agent[object]:
    async def echo(stream: fs.Stream[object]) -> AsyncIterator[object]:
        async for value in stream:
            yield value

    return app.agent(topic, name=f"on-{topic.name}", **options)(echo)  # type: ignore[arg-type]


def test_sources_tables_and_outputs(app: fs.App) -> None:
    app.topic("out", partitions=3)
    agent_on(app, app.topic("orders"), sink=[app.topic("other")], on_error="dead_letter")
    app.Table("totals", default=int)
    plan = make_plan(app, {"orders": 4})
    assert plan.sources == {"orders": 4}
    assert [(t.changelog, t.partitions) for t in plan.tables] == [("shop-totals-changelog", 4)]
    created = {t.name: (t.partitions, dict(t.config)) for t in plan.create}
    assert created == {
        "shop-totals-changelog": (
            4,
            {"cleanup.policy": "compact", "delete.retention.ms": "86400000"},
        ),
        "out": (3, {}),
        "other": (-1, {}),
        "shop-dead-letters": (-1, LETTERS),
    }


def test_G3_S11_a_regrouping_agent_has_two_stages_and_keeps_what_is_between(app: fs.App) -> None:
    agent = agent_on(app, app.topic("orders"))
    agent.group = GroupBy(lambda v: v, "by-x", None, 6)
    plan = make_plan(app, {"orders": 4})
    assert [(r.topic, r.stage, r.forwards_to) for r in plan.readers] == [
        ("orders", Stage.FORWARD, "shop-by-x-repartition"),
        ("shop-by-x-repartition", Stage.GROUPED, ""),
    ]
    assert plan.sources["shop-by-x-repartition"] == 6
    (between,) = plan.create
    assert (between.partitions, between.config) == (6, {"retention.ms": "-1"})


def test_a_missing_input_is_refused_with_the_remedy(app: fs.App) -> None:
    agent_on(app, app.topic("orders"))
    with pytest.raises(fs.TopicMissing, match="flowstream topics create orders"):
        make_plan(app, {})


def test_a_declared_input_is_created(app: fs.App) -> None:
    agent_on(app, app.topic("orders", partitions=2, config={"retention.ms": "1000"}))
    (topic,) = make_plan(app, {}).create
    assert (topic.name, topic.partitions, topic.config) == ("orders", 2, {"retention.ms": "1000"})


def test_what_names_no_partitions_is_created_with_those_of_the_app() -> None:
    app = fs.App("shop", broker="kafka://127.0.0.1:1", topic_partitions=6)
    agent_on(app, app.topic("orders"), sink=[app.topic("out"), app.topic("own", partitions=3)])
    agent_on(app, app.topic("there"))
    app.Table("totals", default=int)
    members = app.SetTable("members", start_manager=True)
    plan = make_plan(app, {"there": 2})
    assert plan.sources == {"orders": 6, "there": 2, members.manager.topic.name: 6}
    created = {topic.name: topic.partitions for topic in plan.create}
    assert created == {
        "orders": 6, "out": 6, "own": 3, "shop-totals-changelog": 6,
        "shop-members-setmanager": 6, "shop-members-changelog": 6,
    }  # fmt: skip


def test_a_table_is_where_its_topic_is_whatever_new_topics_get() -> None:
    app = fs.App("shop", broker="kafka://127.0.0.1:1", topic_partitions=6)
    agent_on(app, app.topic("orders"))
    app.Table("totals", default=int)
    (table,) = make_plan(app, {"orders": 4}).tables
    assert table.partitions == 4


def test_other_partitions_than_declared_are_refused(app: fs.App) -> None:
    agent_on(app, app.topic("orders", partitions=2))
    with pytest.raises(fs.PartitionMismatch, match="declare partitions=3"):
        make_plan(app, {"orders": 3})


def test_growing_an_input_under_a_table_is_refused(app: fs.App) -> None:
    agent_on(app, app.topic("orders"))
    app.Table("totals", default=int)
    with pytest.raises(fs.PartitionMismatch, match="built with 2 partitions"):
        make_plan(app, {"orders": 3, "shop-totals-changelog": 2})


def test_a_table_beside_two_partition_counts_must_say_which(app: fs.App) -> None:
    agent_on(app, app.topic("a"))
    agent_on(app, app.topic("b"))
    app.Table("t", default=int)
    with pytest.raises(fs.PartitionMismatch, match="must say partitions=N"):
        make_plan(app, {"a": 1, "b": 2})


def test_what_is_beside_the_table_of_a_topic_is_partitioned_as_it_is(app: fs.App) -> None:
    prices, stock = app.topic("prices", key_type=str), app.topic("stock", key_type=str)
    left, right = app.table(prices), app.table(stock)
    agent_on(app, app.topic("orders"))
    for number, source in enumerate((left.changes, app.join(left, right))):

        async def tell(stream: fs.Stream[object]) -> None:
            async for _ in stream:
                pass

        app.agent(source, name=f"told-{number}")(tell)
    plan = make_plan(app, {"orders": 4, "prices": 2, "stock": 2})
    assert {table.table.name: table.partitions for table in plan.tables} == dict.fromkeys(
        ("prices", "stock", "prices-changes", "prices-stock-changes", "prices-stock-told"), 2
    )


def test_a_table_with_partitions_of_no_input_is_refused(app: fs.App) -> None:
    agent_on(app, app.topic("a"))
    app.Table("t", default=int, partitions=5)
    with pytest.raises(fs.PartitionMismatch, match="no agent reads"):
        make_plan(app, {"a": 1})


def test_names_are_declared_once(app: fs.App) -> None:
    app.Table("t", default=int)
    with pytest.raises(fs.AppError, match="declared twice"):
        app.Table("t", default=int)
    agent_on(app, app.topic("a"))
    with pytest.raises(fs.AppError, match="declared twice"):
        agent_on(app, app.topic("a"))
    with pytest.raises(fs.AppError, match="on_error"):
        agent_on(app, app.topic("b"), on_error="ignore")
    with pytest.raises(fs.AppError, match="partitions"):
        app.topic("x", partitions=0)


def test_an_agent_must_be_async(app: fs.App) -> None:
    with pytest.raises(fs.AppError, match="async def"):
        app.agent(app.topic("a"))(lambda stream: None)  # type: ignore[arg-type, return-value]


async def test_the_probe_finds_group_by_and_runs_nothing_else(app: fs.App) -> None:
    ran: list[str] = []

    @app.agent(app.topic("a", value_type=str))
    async def grouped(stream: fs.Stream[str]) -> AsyncIterator[str]:
        ran.append("prelude")
        async for value in stream.filter(bool).group_by(len, name="length"):
            ran.append(value)
            yield value

    @app.agent(app.topic("a", value_type=str))
    async def plain(stream: fs.Stream[str]) -> None:
        async for value in stream.take(2, within=1):
            ran.extend(value)

    await grouped.probe()
    await plain.probe()
    assert grouped.group is not None
    assert grouped.repartition_name == "length"
    assert plain.group is None
    assert ran == ["prelude"]


async def test_an_agent_that_reads_nothing_is_refused(app: fs.App) -> None:
    @app.agent(app.topic("a"))
    async def idle(stream: fs.Stream[object]) -> None:
        return None

    with pytest.raises(fs.AppError, match="does not read its stream"):
        await idle.probe()


async def test_group_by_comes_first(app: fs.App) -> None:
    @app.agent(app.topic("a", value_type=str))
    async def late(stream: fs.Stream[str]) -> None:
        async for _ in stream.items().group_by(str):
            pass

    with pytest.raises(fs.AppError, match="comes first"):
        await late.probe()


def joined_with(app: fs.App, table: object, **how: object) -> fs.Agent[object]:
    @app.agent(app.topic("orders", key_type=str))
    async def price(stream: fs.Stream[object]) -> None:
        async for _ in stream.filter(bool).join(table, **how):  # type: ignore[call-overload]
            pass

    return price


@pytest.mark.parametrize("as_of", [False, True])
async def test_a_join_with_the_table_of_a_topic_with_other_partitions_is_refused_before_any_event(
    app: fs.App, *, as_of: bool
) -> None:
    prices = app.table(app.topic("prices", key_type=str), history=60.0)
    await joined_with(app, prices, as_of=as_of).probe()
    with pytest.raises(fs.PartitionMismatch) as refused:
        make_plan(app, {"orders": 4, "prices": 2})
    told = str(refused.value)
    assert "'orders' (4 partitions) with table 'prices' (2, as topic 'prices' has)" in told
    assert "group_by(..., partitions=2)" in told


async def test_a_join_with_a_table_elsewhere_is_refused_and_with_a_global_one_is_not(
    app: fs.App,
) -> None:
    agent_on(app, app.topic("others"))
    await joined_with(app, app.GlobalTable("rates", default=int, partitions=2)).probe()
    make_plan(app, {"orders": 4, "others": 2})

    second = fs.App("bank", broker="kafka://127.0.0.1:1")
    agent_on(second, second.topic("others"))
    totals = second.Table("totals", default=int, partitions=2)
    await joined_with(second, totals).probe()
    with pytest.raises(fs.PartitionMismatch, match=r"'orders' \(4 partitions\) .* 'totals' \(2\)"):
        make_plan(second, {"orders": 4, "others": 2})


@pytest.mark.parametrize("found", [2, 3])
async def test_a_join_behind_group_by_counts_the_partitions_of_the_topic_between(
    app: fs.App, found: int
) -> None:
    prices = app.table(app.topic("prices", key_type=str))

    @app.agent(app.topic("orders", key_type=str))
    async def price(stream: fs.Stream[object]) -> None:
        async for _ in stream.group_by(str, partitions=2).join(prices):
            pass

    await price.probe()
    if found == 2:
        make_plan(app, {"orders": 4, "prices": found})
        return
    with pytest.raises(fs.PartitionMismatch, match=r"price-repartition' \(2 partitions\)"):
        make_plan(app, {"orders": 4, "prices": found})


async def test_a_join_with_a_table_of_another_app_is_refused(app: fs.App) -> None:
    other = fs.App("bank", broker="kafka://127.0.0.1:1")
    await joined_with(app, other.Table("totals", default=int)).probe()
    with pytest.raises(fs.AppError, match="'totals', which is of another app"):
        make_plan(app, {"orders": 4})
