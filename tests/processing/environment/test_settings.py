"""Settings: where they come from, which wins, and what is refused."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.environment.settings import bootstrap_of, resolve
from flowstream.transport.consumer import GroupConsumer
from tests.processing.conftest import Kit


def test_code_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.flowstream]\nbroker = 'kafka://file:1'\ncommit-interval = 1\ndata_dir = 'file'\n"
    )
    found = resolve(
        {"broker": "kafka://code:1", "commit_interval": None},
        environment={"FLOWSTREAM_BROKER": "kafka://env:1", "FLOWSTREAM_COMMIT_INTERVAL": "0.5"},
        directory=tmp_path,
    )
    assert (found.broker, found.commit_interval, found.data_dir) == ("kafka://code:1", 0.5, "file")
    assert found.processing_guarantee == "exactly_once"


def test_settings_of_the_broker_are_not_an_apps(tmp_path: Path) -> None:
    environment = {"FLOWSTREAM_BROKER_NUM_PARTITIONS": "4"}
    assert resolve({}, environment=environment, directory=tmp_path) == resolve({}, environment={})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FLOWSTREAM_COMMIT_INTERVALL", "1", "did you mean 'commit_interval'"),
        ("FLOWSTREAM_COMMIT_INTERVAL", "soon", "bad value 'soon' for 'commit_interval'"),
        ("FLOWSTREAM_COMMIT_INTERVAL", "0", "more than 0"),
        ("FLOWSTREAM_COMMIT_INTERVAL", "inf", "number of seconds"),
        ("FLOWSTREAM_REPLICATION_FACTOR", "1.5", "bad value '1.5'"),
        ("FLOWSTREAM_MAX_PARTITION_FETCH_BYTES", "0", "a whole number"),
        ("FLOWSTREAM_MAX_PARTITION_FETCH_BYTES", "2147483648", "a whole number"),
        ("FLOWSTREAM_REBALANCE_TIMEOUT", "0", "more than 0"),
        ("FLOWSTREAM_TOPIC_PARTITIONS", "0", "a whole number"),
        ("FLOWSTREAM_DATA_DIR", "", "a text is expected"),
        ("FLOWSTREAM_PROCESSING_GUARANTEE", "maybe", "at_least_once"),
    ],
)
def test_bad_settings_name_their_origin_and_the_remedy(
    variable: str, value: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(fs.SettingsError, match=message) as caught:
        resolve({}, environment={variable: value}, directory=tmp_path)
    assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[tool", r"pyproject\.toml is not valid TOML"),
        (b"\xff\xfe", r"pyproject\.toml is not valid TOML"),
        (b"tool = 3", "must be a table"),
        (b"[tool]\nflowstream = 3", "must be a table"),
        (b"[tool.flowstream]\nbroker = 5", "bad value 5 for 'broker'"),
        (b"[tool.flowstream]\ncommit_interval = true", "a number is expected"),
        (b"[tool.flowstream]\nreplication_factor = 1.5", "a whole number"),
        (b"[tool.flowstream]\ncommit_intervall = 1", "did you mean 'commit_interval'"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "pyproject.toml").write_bytes(text)
    with pytest.raises(fs.SettingsError, match=message) as caught:
        resolve({}, environment={}, directory=tmp_path)
    assert "pyproject.toml" in str(caught.value)


def test_a_directory_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    with pytest.raises(fs.SettingsError, match=r"pyproject\.toml cannot be read: Is a directory"):
        resolve({}, environment={}, directory=tmp_path)


@pytest.mark.parametrize("id", ["", "a b", "a/b", "..", "ä"])
def test_app_ids_must_fit_topics_and_directories(id: str) -> None:
    with pytest.raises(fs.SettingsError, match="not usable"):
        fs.App(id)


def test_settings_in_force_are_not_assigned_to() -> None:
    app = fs.App("ported")
    for name in ("commit_interval", "table_cleanup_interval"):
        with pytest.raises(AttributeError, match=f"cannot assign to field '{name}'"):
            setattr(app.settings, name, 1.0)


def test_a_span_may_be_a_timedelta() -> None:
    app = fs.App("shop", commit_interval=datetime.timedelta(milliseconds=50), stall_warning=2)
    assert (app.settings.commit_interval, app.settings.stall_warning) == (0.05, 2.0)
    with pytest.raises(fs.SettingsError, match=r"'commit_interval' .*: it must be a number of sec"):
        fs.App("shop", commit_interval=datetime.timedelta(0))


def test_broker_addresses() -> None:
    assert bootstrap_of("kafka://a:1,b:2") == "a:1,b:2"
    assert bootstrap_of("a:1") == "a:1"
    assert bootstrap_of("embedded://x") is None
    assert bootstrap_of("[::1]:9092") == "[::1]:9092"
    assert bootstrap_of("localhost") == "localhost:9092"
    assert bootstrap_of("kafka://a, [::1],c:1") == "a:9092,[::1]:9092,c:1"
    assert bootstrap_of("aiokafka://a,b:1") == bootstrap_of("kafka://a;b:1") == "a:9092,b:1"
    assert bootstrap_of("aiokafka://") == "localhost:9092"
    with pytest.raises(fs.SettingsError, match="kafka://HOST:PORT"):
        bootstrap_of("redis://a:1")


@pytest.mark.parametrize(
    "broker", ["kafka://", "a:", "a:x", "kafka://a:1,", "a:70000", "", "::1", "a/b:1", ":1"]
)
def test_a_broker_that_is_no_address_is_told(broker: str) -> None:
    with pytest.raises(fs.SettingsError, match="is not HOST:PORT"):
        bootstrap_of(broker)


async def test_what_is_fetched_at_a_time_is_bounded(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch brings one batch when no two may come together."""
    found: list[int] = []
    getmany = GroupConsumer.getmany

    async def counted(self: GroupConsumer, *bounds: int) -> Any:
        batches = await getmany(self, *bounds)
        found.extend(len(records) for records in batches.values())
        return batches

    monkeypatch.setattr(GroupConsumer, "getmany", counted)
    for app, most in (
        (kit.app(name, max_partition_fetch_bytes=1), 1),
        (kit.app(f"{name}-b", data_dir=kit.directory / "b"), 20),
    ):
        words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)

        @app.agent(words)
        async def read(stream: fs.Stream[str]) -> None:
            async for _ in stream:
                pass

        await kit.create(app)
        if most == 1:
            for number in range(20):
                await words.send(key="k", value=str(number))
        found.clear()
        await kit.run_until(app, kit.committed(app, words.name, 20))
        assert (sum(found), max(found)) == (20, most)


def test_a_rebalance_waits_as_long_as_its_members_say() -> None:
    app = fs.App("waiting", rebalance_timeout=7.5)
    words = app.topic("words", value_type=str, partitions=1)

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    with app.test_context() as context:
        (member,) = context.broker.node.cores.groups._records[app.id].members
        assert member.rebalance_timeout == 7_500
