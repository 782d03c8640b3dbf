"""Settings by Faust's names, and `app.conf`, which is assigned to until there is a worker."""

from __future__ import annotations

import datetime
from typing import Any, get_type_hints

import pytest

import flowstream as fs
from flowstream.processing.declarations.conf import Ported
from flowstream.processing.declarations.ported import ALWAYS, BOUNDS, RENAMED, SAME, Bound
from flowstream.processing.declarations.turning import TURNED
from flowstream.processing.environment.settings import SETTINGS

GIVEN: dict[str, Any] = {
    "url": "kafka://there:1",
    "datadir": "elsewhere",
    "broker_commit_interval": 2.8,
    "broker_session_timeout": datetime.timedelta(seconds=61),
    "broker_request_timeout": 91.0,
    "producer_request_timeout": 92.0,
    "broker_rebalance_timeout": 62,
    "consumer_group_instance_id": "a",
    "consumer_max_fetch_size": 5_000,
    "producer_compression_type": "lz4",
    "stream_processing_timeout": 301.0,
    "blocking_timeout": 302.0,
    "broker_commit_livelock_soft_timeout": 303.0,
    "broker_client_id": "till-1",
    "broker_commit_every": 9,
    "broker_heartbeat_interval": 4.0,
    "broker_max_poll_records": 8,
    "stream_buffer_maxsize": 7,
    "producer_max_batch_size": 6,
    "producer_max_request_size": 5,
    "web_bind": "::1",
    "broker_consumer": "kafka://there:2",
    "broker_producer": "kafka://there:3",
    "table_standby_replicas": 1,
    "topic_replication_factor": 3,
}


def test_every_name_of_fausts_is_one_of_ours_or_has_one_answer() -> None:
    assert GIVEN.keys() == RENAMED.keys()
    assert set(RENAMED.values()) <= SETTINGS
    by_fausts_name = [*RENAMED, *ALWAYS, *BOUNDS, *TURNED]
    assert len(set(by_fausts_name)) == len(by_fausts_name)
    assert not set(by_fausts_name) & SETTINGS
    assert get_type_hints(Ported).keys() == {*by_fausts_name, *SAME, "env_prefix"}
    assert set(SAME) <= SETTINGS


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_by_fausts_name_is_ours(name: str) -> None:
    app = fs.App("ported", **{name: GIVEN[name]})
    by_ours = fs.App("ported", **{RENAMED[name]: GIVEN[name]})
    assert app.settings == by_ours.settings != fs.App("ported").settings
    assigned = fs.App("ported")
    setattr(assigned.conf, name, GIVEN[name])
    assert assigned.settings == app.settings
    assert getattr(assigned.conf, name) == getattr(app.settings, RENAMED[name])
    assert fs.App("ported", **{name: None}).settings == fs.App("ported").settings
    if RENAMED[name] in SAME:
        return
    with pytest.raises(fs.SettingsError, match=f"'{RENAMED[name]}', which is given, too"):
        fs.App("ported", **{name: GIVEN[name], RENAMED[name]: GIVEN[name]})


@pytest.mark.parametrize("name", ALWAYS)
def test_what_is_always_so_may_be_said_and_not_be_denied(name: str) -> None:
    app = fs.App("ported")
    for value in ALWAYS[name].values:
        assert fs.App("ported", **{name: value}).settings == app.settings
        setattr(app.conf, name, value)
    assert getattr(app.conf, name) == ALWAYS[name].values[0]
    for denied in (not ALWAYS[name].values[0], 1, "memory://"):
        if type(denied) is type(ALWAYS[name].values[0]) and denied in ALWAYS[name].values:
            continue
        with pytest.raises(fs.SettingsError, match=f"{name}={denied!r}.*leave it out, or write"):
            fs.App("ported", **{name: denied})
        with pytest.raises(fs.SettingsError, match=rf"app\.conf\({name}="):
            setattr(app.conf, name, denied)


def test_one_setting_by_several_names_is_said_once_or_the_same() -> None:
    one = "kafka://there:1"
    app = fs.App("ported", broker_consumer=one, broker_producer=one)
    assert app.settings.broker == one
    with pytest.raises(fs.SettingsError, match="'broker', which is given, too"):
        fs.App("ported", broker_consumer=one, broker_producer="kafka://there:2")
    assert fs.App("ported", client_id="a", broker_client_id="a").settings.client_id == "a"
    with pytest.raises(fs.SettingsError, match="'client_id', which is given, too"):
        fs.App("ported", client_id="a", broker_client_id="b")


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_a_bound_that_is_kept_may_be_said_and_a_tighter_one_not(name: str, bound: Bound) -> None:
    app = fs.App("ported")
    kept = bound.ours(app.settings)
    assert getattr(app.conf, name) == kept
    for loose in (kept, kept + 1000, datetime.timedelta(seconds=kept + 1000), None):
        assert fs.App("ported", **{name: loose}).settings == app.settings
        setattr(app.conf, name, loose)
    for tight in (kept - 0.01, -1, True, "1"):
        with pytest.raises(fs.SettingsError, match=rf"App\({name}=.*that is {kept:g} now"):
            fs.App("ported", **{name: tight})
        with pytest.raises(fs.SettingsError, match=rf"app\.conf\({name}="):
            setattr(app.conf, name, tight)


def test_a_bound_that_was_said_holds_for_what_is_assigned_later() -> None:
    app = fs.App("ported", table_cleanup_interval=1.0)
    app.conf.broker_commit_interval = 0.5
    with pytest.raises(fs.SettingsError, match=r"table_cleanup_interval=1\.0\).*that is 2\.8 now"):
        app.conf.broker_commit_interval = 2.8
    assert app.settings.commit_interval == 0.5
    app.conf.table_cleanup_interval = 3.0
    app.conf.broker_commit_interval = 2.8


def test_what_is_assigned_is_in_force_and_checked() -> None:
    app = fs.App("ported", broker="kafka://here:1", version=2)
    app.conf.web_port = 0
    app.conf.commit_interval = datetime.timedelta(seconds=1)
    app.conf.broker = "kafka://there:1"
    assert (app.settings.web_port, app.settings.commit_interval) == (0, 1.0)
    assert app._sender.settings is app.settings
    assert app._sender._address() == "there:1"
    app.conf.web_port = None
    assert app.conf.web_port is None
    assert (app.conf.id, app.conf.name, app.conf.version) == ("ported-v2", "ported", 2)
    assert "broker='kafka://there:1'" in repr(app.conf)
    assert {"commit_interval", "broker_commit_interval", "store", "id"} <= set(dir(app.conf))
    for name, value, message in (
        ("commit_interval", -1, r"bad value -1 for 'commit_interval' from app\.conf"),
        ("comit_interval", 1, "did you mean 'commit_interval'"),
        ("producer_partitioner", hash, "is no setting here, as it is in Faust: murmur2"),
        ("version", 3, r"is given when the app is made: App\(version=\)"),
    ):
        with pytest.raises(fs.SettingsError, match=message):
            setattr(app.conf, name, value)
    with pytest.raises(
        AttributeError, match=r"no setting 'producer_partitioner' here, as it is in Faust: murmur2"
    ):
        app.conf.producer_partitioner  # noqa: B018
    with pytest.raises(AttributeError, match=r"there is no setting 'nothing' here$"):
        app.conf.nothing  # noqa: B018


def test_what_topics_look_at_is_assigned_before_them() -> None:
    app = fs.App("ported")
    app.conf.value_serializer = "json|gzip"
    topic = app.topic("orders")
    assert topic.encode_value({})[:2] == b"\x1f\x8b"  # type: ignore[index]
    app.conf.value_serializer = "json|gzip"
    app.conf.topic_partitions = 3
    with pytest.raises(fs.SettingsError, match="when a topic is declared, as orders has been"):
        app.conf.value_serializer = "json"


def test_a_worker_has_its_settings() -> None:
    app = fs.App("ported")
    told: list[float] = []

    @app.on_configured.connect
    def configured(app: fs.App, conf: Any) -> None:
        told.append(conf.broker_commit_interval)
        conf.broker_commit_interval = 3.0

    worker = fs.Worker(app, "127.0.0.1:1")
    assert told == [0.1]
    assert worker.settings.commit_interval == 3.0
    with pytest.raises(fs.SettingsError, match="assigned too late, its worker has been made"):
        app.conf.commit_interval = 1.0
