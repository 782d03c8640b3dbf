"""Faust's options of what an app declares, and names of its `App`: each does what it says."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


async def nothing(stream: fs.Stream[Any]) -> None:
    """Reads to the end."""
    async for _ in stream:
        pass


class OneForOneSupervisor:
    """Named as one of `mode`."""


class CrashingSupervisor:
    """Named as one of `mode`."""


@pytest.mark.parametrize(
    ("strategy", "policy"),
    [
        (OneForOneSupervisor, "skip"), ("mode.OneForAllSupervisor", "skip"),
        (CrashingSupervisor, "stop"), ("mode.supervisors:CrashingSupervisor", "stop"),
    ],
)  # fmt: skip
def test_a_supervisor_says_what_becomes_of_a_failed_event(strategy: Any, policy: str) -> None:
    app = fs.App("shop")
    topic = app.topic("t", value_type=str)
    agent = app.agent(topic, supervisor_strategy=strategy)(nothing)
    assert agent.policy.action == policy
    usual = fs.App("shop", agent_supervisor=strategy)
    assert usual.agent(usual.topic("t"))(nothing).policy.action == policy
    assert (
        usual.agent(usual.topic("t"), name="own", on_error="park")(nothing).policy.action == "park"
    )


def test_the_policy_of_agents_that_say_none_is_the_apps() -> None:
    app = fs.App("shop", stream_ack_exceptions=True)
    assert (app.settings.on_error, app.conf.stream_ack_exceptions) == ("skip", True)
    app.conf.stream_ack_exceptions = False
    assert app.settings.on_error == "stop"
    app.conf.on_error = "dead_letter"
    app.conf.stream_ack_exceptions = True
    assert app.settings.on_error == "dead_letter"
    assert app.agent(app.topic("t"))(nothing).policy.action == "dead_letter"
    with pytest.raises(fs.SettingsError, match="looked at when an agent is declared, as nothing"):
        app.conf.on_error = "skip"
    with pytest.raises(AppError, match="say the same: leave one out"):
        app.agent(app.topic("t"), on_error="skip", supervisor_strategy=CrashingSupervisor)
    with pytest.raises(AppError, match=r"supervisor .*Forfeit.* is not CrashingSupervisor"):
        app.agent(app.topic("t"), supervisor_strategy="mode.ForfeitOneForOneSupervisor")
    with pytest.raises(fs.SettingsError, match="use one of stop, skip"):
        fs.App("shop", on_error="ignore")


async def test_S11_an_event_that_fails_is_skipped_where_the_app_says_so(
    kit: Kit, name: str
) -> None:
    app = kit.app(name, agent_supervisor=OneForOneSupervisor)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def pick(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if word == "bad":
                raise ValueError(word)
            yield word

    await kit.create(app)
    for word in ("a", "bad", "b"):
        await words.send(key="k", value=word)
    async with kit.running(app) as worker:
        await kit.until(kit.count(out.name, 2))
    assert worker.counts.skipped == 1
    assert await kit.values(out.name) == [b"a", b"b"]


def test_a_crontab_does_not_change_its_time_zone_behind_its_back() -> None:
    app = fs.App("shop")

    @app.crontab("0 12 * * *", traced=True)
    async def noon() -> None: ...

    app.conf.timezone = None
    with pytest.raises(fs.SettingsError, match=r"when a crontab is declared, as crontab\.noon"):
        app.conf.timezone = "Europe/Berlin"
    with pytest.raises(AppError, match="has a unit's span"):
        app.crontab("0 12 * * *", traced=False)


async def test_a_topic_is_made_with_its_own_replicas(kit: Kit, name: str) -> None:
    app = kit.app(name, topic_replication_factor=2, topic_partitions=3)
    topic = app.topic(name, replicas=1, acks=True, internal=True)
    await topic.declare()
    assert (await kit.admin.topics([name]))[name].partitions == 3
    read = app.topic(f"{name}-in", replicas=1, partitions=1)
    app.agent(read)(nothing)
    async with kit.running(app):
        await kit.sees(app.is_leader)
    found = await kit.admin.topics([f"{name}-in"])
    assert found[f"{name}-in"].partitions == 1


def test_options_of_topics_that_cannot_be_kept_are_refused() -> None:
    app = fs.App("shop")
    for acks in (True, -1, "all"):
        app.topic("t", acks=acks)
    for options, message in (
        ({"acks": False}, "acks=False, but a record is there when all"),
        ({"acks": 0}, "acks=0, but a record"),
        ({"internal": True}, "say partitions=N, too, or App"),
        ({"replicas": 0}, "replicas is a whole number from 1 on, not 0"),
    ):
        with pytest.raises(AppError, match=message):
            app.topic("t", **options)  # type: ignore[call-overload]
    topic = app.topic("t", replicas=2)
    topic.derive(name="another")
    assert [app.topics[name].replicas for name in ("t", "another")] == [2, 2]
    with pytest.raises(AppError, match="declared with 2 and 3 replicas"):
        app.topic("t", replicas=3)


def test_options_of_tables_agree_with_what_is_so_or_are_refused() -> None:
    app = fs.App("shop")
    recovered: list[str] = []

    async def one() -> None:
        recovered.append("one")

    async def two() -> None:
        recovered.append("two")

    table = app.Table(
        "totals", default=int, store="rocksdb://", is_global=False, use_partitioner=False,
        changelog_topic="shop-totals-changelog", synchronize_all_active_partitions=False,
        recover_callbacks=[one, two],
    )  # fmt: skip
    assert {one, two} <= set(table.recover_callbacks)
    app.Table("counts", default=int, changelog_topic=app.topic("shop-counts-changelog"))
    app.GlobalTable("all", default=int, synchronize_all_active_partitions=True)
    for name, options, message in (
        ("a", {"store": "memory://"}, "store='memory://'.: rows are kept in RocksDB"),
        ("b", {"is_global": True}, "is_global=True.: app.GlobalTable declares one"),
        ("c", {"use_partitioner": True}, "rows are of the event's partition"),
        ("d", {"synchronize_all_active_partitions": True}, "app.GlobalTable has all"),
        ("e", {"changelog_topic": "other"}, "is 'shop-e-changelog', which the app makes"),
    ):
        with pytest.raises(AppError, match=message):
            app.Table(name, default=int, **options)  # type: ignore[call-overload]
        assert name not in app.tables
    with pytest.raises(AppError, match="every worker follows all partitions"):
        app.GlobalTable("g", default=int, synchronize_all_active_partitions=False)


def test_an_agent_has_the_help_that_it_is_given() -> None:
    app = fs.App("shop")
    assert app.actor(app.topic("t"), help="Counts.")(nothing).help == "Counts."
    assert app.actor(app.topic("t"), name="b", use_reply_headers=True)(nothing).help == (
        "Reads to the end."
    )
    assert app.agent(app.channel(), name="c", help="Hears.")(nothing).help == "Hears."
    assert set(app.agents) == {"nothing", "b"}
    with pytest.raises(AppError, match="replies go by headers, always"):
        app.agent(app.topic("t"), use_reply_headers=False)


async def test_an_app_connects_when_it_is_told_to(kit: Kit, name: str) -> None:
    app = kit.app(name)
    assert app.client_only
    assert app.producer_only
    assert app.in_transaction
    assert not fs.App("shop", processing_guarantee="at_least_once").in_transaction
    for start in (app.start_client, app.maybe_start_client, app.maybe_start_producer):
        await app.close()
        assert app._sender._cluster is None
        await start()
        assert app._sender._cluster is not None
    await app.close()
    app.worker = fs.Worker(app, kit.address)
    await app.maybe_start_client()
    assert app._sender._cluster is None
    assert not app.client_only


async def test_an_app_knows_its_worker(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    app.agent(app.topic(name, partitions=1))(nothing)
    assert not app.is_leader()
    assert app.web_server_url is None
    async with kit.running(app) as worker:
        await kit.sees(app.is_leader)
        assert app.web_server_url == f"http://{worker.web_address}"


def test_settings_come_from_an_object_or_a_module(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Config:
        broker = "kafka://there:1"
        broker_commit_interval = 2.8
        TIMES = 3

        def other(self) -> None: ...

    app = fs.App("shop")
    app.config_from_object(Config)
    assert (app.settings.broker, app.settings.commit_interval) == ("kafka://there:1", 2.8)
    (tmp_path / "shop_config.py").write_text("import os\nweb_port = 0\n_own = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app.config_from_object("shop_config")
    assert app.settings.web_port == 0
    app.config_from_object("no_such_config", silent=True)
    with pytest.raises(ModuleNotFoundError):
        app.config_from_object("no_such_config")
    with pytest.raises(fs.SettingsError, match="unknown setting 'comit_interval'"):
        app.config_from_object(types.SimpleNamespace(comit_interval=1))
    app.config_from_object("shop_config", force=True)


def test_a_page_gets_a_view_of_its_base() -> None:
    app = fs.App("shop")

    class Ours(fs.View):
        """Has a word of ours."""

    @app.page("/a", base=Ours)
    async def page(self: Ours, request: Any) -> Any: ...

    assert isinstance(app.pages["/a"].view(app), Ours)
    with pytest.raises(AppError, match=r"is no class of flowstream\.View"):
        app.page("/b", base=int)(page)  # type: ignore[arg-type]

    class Answering(fs.View):
        async def get(self, request: Any) -> Any: ...

    with pytest.raises(AppError, match="class Answering is its own base"):
        app.page("/b", base=fs.View)(Answering)


def test_the_older_name_of_a_query_parameter_counts() -> None:
    app = fs.App("shop")
    table = app.Table("t", default=int)

    @app.page("/a")
    @app.table_route(table, shard_param="key")
    async def page(self: Any, request: Any) -> Any: ...

    route = vars(page)["__flowstream_route__"]
    assert route.query_param == "key"
    with pytest.raises(AppError, match="shard_param is query_param"):
        app.table_route(table, shard_param="a", query_param="b")


def test_without_traces_nothing_is_traced() -> None:
    app = fs.App("shop")
    assert app.tracer is None
    with app.trace("block") as span:
        assert span is None
    assert app.traced(lambda: 3)() == 3
    with pytest.raises(fs.SettingsError, match="the sampler of the tracer provider"):
        app.traced(lambda: 3, sample_rate=0.5)
    assert asyncio.iscoroutinefunction(app.traced(nothing))
