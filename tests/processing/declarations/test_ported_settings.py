"""What settings by Faust's names do: each is shown by its effect."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.environment.doors import DOORS
from flowstream.processing.environment.securing import security_of
from flowstream.processing.environment.slots import take_slot
from flowstream.processing.errors import TopicMissing
from flowstream.processing.group.memberships import heartbeat_ms
from flowstream.processing.tables.crontabs import Crontab
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.errors import NoToken
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit

THERE = "kafka://there:9092"


def echoing(kit: Kit, name: str, **settings: Any) -> tuple[fs.App, Any, asyncio.Event]:
    """An app that passes words on once its gate is open."""
    app = kit.app(name, **settings)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    gate = asyncio.Event()

    @app.agent(words, sink=[out])
    async def echo(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            await gate.wait()
            yield word

    return app, words, gate


async def test_a_client_has_the_name_and_the_patience_that_were_set() -> None:
    app = fs.App("shop", broker_client_id="till-1", consumer_connections_max_idle_ms=1_500)
    cluster = DOORS.cluster("there:1", app.id, app.settings)
    assert (cluster.client_id, cluster.client("there:1")._client_id) == ("till-1", "till-1")
    assert cluster.client("there:1")._connections_max_idle_ms == 1_500
    assert app.conf.producer_connections_max_idle_ms == 1_500
    usual = DOORS.cluster("there:1", "shop", fs.App("shop").settings)
    assert (usual.client_id, usual.max_idle_ms) == ("shop", 540_000)
    with pytest.raises(fs.SettingsError, match="a number of milliseconds"):
        app.conf.consumer_connections_max_idle_ms = "9m"


def test_a_worker_beats_as_often_as_is_said() -> None:
    assert heartbeat_ms(fs.App("shop").settings) == 1_000
    assert heartbeat_ms(fs.App("shop", broker_heartbeat_interval=3.0).settings) == 3_000
    # Not as fast as the broker answers.
    assert heartbeat_ms(fs.App("shop", broker_heartbeat_interval=0.0001).settings) == 1
    tight = fs.App("shop", broker_heartbeat_interval=3, broker_session_timeout=3).settings
    with pytest.raises(fs.SettingsError, match=r"heartbeat_interval=3 is no less than session_ti"):
        heartbeat_ms(tight)


async def test_X3_no_more_records_are_read_and_held_than_were_set(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    usual = GroupConsumer.getmany

    async def noting(self: GroupConsumer, most: int, wait_ms: int) -> Any:
        asked.append(most)
        found = await usual(self, most, wait_ms)
        assert sum(map(len, found.values())) <= most
        return found

    monkeypatch.setattr(GroupConsumer, "getmany", noting)
    app, words, gate = echoing(kit, name, broker_max_poll_records=2, stream_buffer_maxsize=3)
    await kit.create(app)
    await asyncio.gather(*(words.send(key="k", value=str(n)) for n in range(20)))
    async with kit.running(app) as worker:
        await kit.sees(
            lambda: worker.membership is not None and bool(worker.membership.consumer.paused)
        )
        assert worker.membership is not None
        (task,) = worker.membership.tasks.values()
        assert 3 < task.queued(words.name) <= 3 + 2
        gate.set()
        await kit.until(kit.committed(app, words.name, 20))
    assert set(asked) == {2}


async def test_an_epoch_commits_after_so_many_records(kit: Kit, name: str) -> None:
    app, words, gate = echoing(kit, name, commit_interval=600.0, broker_commit_every=4)
    gate.set()
    await kit.create(app)
    async with kit.running(app) as worker:
        for n in range(4):
            await words.send(key="k", value=str(n))
        await kit.until(kit.count(f"{name}-out", 1))
        assert worker.counts.commits >= 1


async def test_S11_a_record_above_the_size_that_was_set_fails_its_event(
    kit: Kit, name: str
) -> None:
    app, words, gate = echoing(kit, name, producer_max_request_size=400)
    gate.set()
    await kit.create(app)
    await words.send(key="k", value="x" * 200)
    await words.send(key="k", value="x" * 500)
    with pytest.raises(fs.AgentFailed, match=r"takes \d+ bytes, but the topic takes 400"):
        async with kit.running(app) as worker:
            await kit.sees(lambda: worker._failure is not None)
    assert [len(value or b"") for value in await kit.values(f"{name}-out")] in ([], [200])


def test_batches_are_no_larger_than_was_set() -> None:
    def batches(**settings: Any) -> int:
        app = fs.App("shop", **settings)
        buffer = fs.Worker(app, "127.0.0.1:1")._buffer
        for _ in range(10):
            buffer.append(TopicPartition("t", 0), b"k", b"x" * 300, 0)
        return len(buffer.take()["t", 0])  # type: ignore[index]

    assert (batches(), batches(producer_max_batch_size=1_000)) == (1, 4)


async def test_topics_are_not_created_where_that_is_not_allowed(kit: Kit, name: str) -> None:
    app, words, gate = echoing(kit, name, topic_allow_declare=False)
    gate.set()
    await words.declare()
    with pytest.raises(TopicMissing, match=f"topic_allow_declare is false: {name}-in, {name}-out;"):
        await fs.Worker(app, kit.address).run()
    assert not await kit.admin.topics([f"{name}-in"])
    await kit.admin.create_topics([NewTopic(f"{name}-in", 1), NewTopic(f"{name}-out", 1)])
    await words.send(key="k", value="a")
    again, _, opened = echoing(kit, name, topic_allow_declare=False)
    opened.set()
    await kit.run_until(again, kit.count(f"{name}-out", 1))


async def test_replies_have_the_topic_and_the_time_that_were_set(kit: Kit, name: str) -> None:
    assert fs.App("shop", reply_to_prefix="f-reply-").replies == "f-reply-shop"
    assert fs.App("shop", reply_to_prefix="f-reply-", reply_to="answers").replies == "answers"
    app, _, gate = echoing(kit, name, reply_to=f"{name}-answers", reply_expires=86_400)
    gate.set()
    await kit.create(app)
    async with kit.running(app):
        assert await app.agents["echo"].ask("hello") == "hello"
    found = await kit.admin.topic_settings([f"{name}-answers"], "retention.ms")
    assert found == {f"{name}-answers": "86400000"}
    assert len(await kit.records(f"{name}-answers")) == 1
    assert not await kit.admin.topics([f"{name}-replies"])


def test_crontabs_go_by_the_apps_time_zone() -> None:
    def next_hour(app: fs.App, **options: Any) -> int:
        @app.crontab("0 12 * * *", **options)
        async def noon() -> None: ...

        source = app.agents["crontab.noon"].inner
        assert isinstance(source, Crontab)
        at = datetime.datetime.fromtimestamp(source.schedule.next_ms(0) / 1000, datetime.UTC)
        return at.hour

    zone = datetime.timezone(datetime.timedelta(hours=-3))
    assert next_hour(fs.App("shop")) == 12
    assert next_hour(fs.App("shop", timezone="Europe/Berlin")) == 11
    assert next_hour(fs.App("shop", timezone=zone)) == 15
    assert next_hour(fs.App("shop", timezone=zone), timezone="UTC") == 12
    with pytest.raises(fs.SettingsError, match=r"'timezone' from App.*a name as 'Europe/Berlin'"):
        fs.App("shop", timezone="Europe/Nowhere")


@pytest.mark.parametrize("debug", [False, True])
async def test_debug_is_that_of_the_loop(kit: Kit, name: str, debug: bool) -> None:
    app, _, _ = echoing(kit, name, debug=debug)
    seen: list[bool] = []

    @app.task
    async def look() -> None:
        seen.append(asyncio.get_running_loop().get_debug())

    loop = asyncio.get_running_loop()
    before = loop.get_debug()
    loop.set_debug(False)
    try:
        async with kit.running(app):
            await kit.sees(lambda: bool(seen))
    finally:
        loop.set_debug(before)
    assert seen == [debug]


class Provider:
    """Gives a token, or says why not."""

    def __init__(self, token: object) -> None:
        self._token = token

    async def token(self) -> Any:
        if isinstance(self._token, Exception):
            raise self._token
        return self._token


async def test_credentials_say_how_a_connection_is_secured() -> None:
    context = ssl.create_default_context()

    def secured(**settings: Any) -> Any:
        return security_of(fs.App("shop", broker=THERE, **settings).settings)

    for given in (context, fs.SSLCredentials(context)):
        found = secured(broker_credentials=given)
        assert (found.protocol, found.ssl_context) == ("SSL", context)
    assert secured(broker_credentials=fs.SSLCredentials()).protocol == "SSL"
    found = secured(ssl_context=context)
    assert (found.protocol, found.ssl_context) == ("SSL", context)
    user: Any = {"username": "ada", "password": "lace"}
    found = secured(broker_credentials=fs.SASLCredentials(**user))
    assert (found.protocol, found.sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN")
    assert (found.sasl_username, found.sasl_password) == ("ada", "lace")
    found = secured(
        broker_credentials=fs.SASLCredentials(
            **user, mechanism="SCRAM-SHA-512", ssl_context=context
        )
    )
    assert (found.protocol, found.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert found.ssl_context is context
    found = secured(
        broker_credentials=fs.OAuthCredentials(oauth_cb=Provider("abc"), ssl_context=context)
    )
    assert (found.protocol, found.sasl_mechanism) == ("SASL_SSL", "OAUTHBEARER")
    assert await found.tokens.token() == "abc"
    for wrong in (None, ValueError("no")):
        credentials = fs.OAuthCredentials(oauth_cb=Provider(wrong))
        with pytest.raises(NoToken):
            await secured(broker_credentials=credentials).tokens.token()


def test_X5_credentials_show_no_password_and_are_read_back() -> None:
    context = ssl.create_default_context()
    app = fs.App("shop", broker=THERE)
    assert app.conf.broker_credentials is None
    given = fs.SASLCredentials(username="ada", password="lace", ssl_context=context)
    app.conf.broker_credentials = given
    assert "lace" not in repr(given) + repr(app.settings) + repr(app.conf)
    back = app.conf.broker_credentials
    assert isinstance(back, fs.SASLCredentials)
    assert (back.settings(), back.protocol) == (given.settings(), "SASL_SSL")
    app.conf.broker_credentials = fs.OAuthCredentials(oauth_cb=Provider("abc"))
    assert isinstance(app.conf.broker_credentials, fs.OAuthCredentials)
    secured = fs.App("shop", broker=THERE, ssl_context=context)
    assert secured.conf.broker_credentials.context is context


def test_what_is_no_credentials_or_contradicts_them_is_refused() -> None:
    context = ssl.create_default_context()
    mechanism = fs.SASLCredentials(username="a", password="b", mechanism="GSSAPI")
    for settings, message in (
        ({"broker_credentials": "secret"}, "what fs.SASLCredentials, fs.SSLCredentials or"),
        ({"broker_credentials": mechanism}, "'GSSAPI' for 'sasl_mechanism'"),
        ({"ssl_context": "secret"}, "an ssl.SSLContext is expected, given in code"),
    ):
        with pytest.raises(fs.SettingsError, match=message):
            fs.App("shop", broker=THERE, **settings)
    plain = fs.SASLCredentials(username="a", password="b")
    app = fs.App("shop", broker=THERE, broker_credentials=plain, ssl_context=context)
    app.conf.ssl_context = context
    with pytest.raises(fs.SettingsError, match="by SASL_PLAINTEXT, but an ssl_context is given"):
        security_of(app.settings)
    app = fs.App("shop", broker=THERE, ssl_context=context)
    app.conf.ssl_cafile = "ca.pem"
    with pytest.raises(fs.SettingsError, match="an ssl_context has its certificates"):
        security_of(app.settings)
    app = fs.App("shop", broker=THERE)
    app.conf.broker_credentials = fs.OAuthCredentials(oauth_cb=Provider("abc"))
    app.conf.sasl_oauthbearer_token_endpoint_url = "https://issuer/"
    with pytest.raises(fs.SettingsError, match="from a provider or from"):
        security_of(app.settings)
    with pytest.raises(fs.SettingsError, match="leave cafile, capath and cadata out"):
        fs.SSLCredentials(context, cafile="ca.pem")
    with pytest.raises(fs.SettingsError, match=r"SSLCredentials: .*cafile='none.pem'"):
        fs.SSLCredentials(cafile="none.pem")


def test_the_web_server_is_where_fausts_names_say() -> None:
    app = fs.App("shop", web_enabled=True)
    assert (app.settings.web_port, app.conf.web_enabled) == (6066, True)
    app = fs.App("shop", web_port=0, web_enabled=True, web_bind="::1")
    assert (app.settings.web_port, app.settings.web_host) == (0, "::1")
    app.conf.web_enabled = False
    assert (app.settings.web_port, app.conf.web_enabled) == (None, False)
    assert fs.App("shop", web_port=0, web_enabled=False).settings.web_port is None
    app = fs.App("shop", canonical_url="http://box:6066/")
    assert (app.settings.web_advertised, app.conf.canonical_url) == ("box:6066", "http://box:6066")
    assert fs.App("shop").conf.canonical_url is None
    for settings in ({"web_enabled": "no"}, {"canonical_url": "https://box"}):
        with pytest.raises(fs.SettingsError):
            fs.App("shop", **settings)  # type: ignore[arg-type]


def test_the_directories_of_an_app_can_be_read(tmp_path: Path) -> None:
    app = fs.App("shop", version=3, data_dir=tmp_path)
    assert app.conf.appdir == app.conf.tabledir == tmp_path / "state" / "shop-v3"
    fs.App("shop", version=3, data_dir=tmp_path, tabledir=tmp_path / "state" / "shop-v3")
    with pytest.raises(fs.SettingsError, match="tabledir='tables': the tables of this app are in"):
        fs.App("shop", data_dir=tmp_path, tabledir="tables")
    for id in ("shop", "shop-v2", "shop-v3", "other"):
        take_slot(tmp_path, id).release()
    state = tmp_path / "state"
    assert app.conf.find_old_versiondirs() == [state / "shop", state / "shop-v2"]


def test_variables_by_a_prefix_of_the_apps_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_COMMIT_INTERVAL", "0.5")
    monkeypatch.setenv("SHOP_SECRET", "none of ours")
    monkeypatch.setenv("FLOWSTREAM_COMMIT_INTERVAL", "0.7")
    monkeypatch.setenv("FLOWSTREAM_STALL_WARNING", "9")
    assert fs.App("shop").settings.commit_interval == 0.7
    for prefix in ("SHOP_", "SHOP"):
        app = fs.App("shop", env_prefix=prefix)
        assert (app.settings.commit_interval, app.settings.stall_warning) == (0.5, 9.0)
        assert app.conf.env_prefix == prefix
        assert fs.App("shop", env_prefix=prefix, commit_interval=2).settings.commit_interval == 2
    monkeypatch.setenv("SHOP_COMMIT_INTERVAL", "often")
    with pytest.raises(fs.SettingsError, match=r"bad value 'often' .* from SHOP_COMMIT_INTERVAL"):
        fs.App("shop", env_prefix="SHOP_")


def test_levels_and_handlers_are_checked_where_they_are_said() -> None:
    for name, value in (
        ("worker_redirect_stdouts_level", "loud"), ("loghandlers", [print]),
        ("logging_config", "file.ini"), ("debug", "perhaps"),
    ):  # fmt: skip
        with pytest.raises(fs.SettingsError, match=f"for '{name}' from App"):
            fs.App("shop", **{name: value})  # type: ignore[arg-type]
