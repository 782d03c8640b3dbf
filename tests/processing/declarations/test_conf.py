"""Settings by Faust's names, and `app.conf`, which is assigned to until there is a worker."""

from __future__ import annotations

import datetime
from typing import Any, get_type_hints

import pytest

import flowstream as fs
from flowstream.processing.declarations.conf import Ported
from flowstream.processing.declarations.ported import ALWAYS, RENAMED
from flowstream.processing.environment.settings import SETTINGS

GIVEN: dict[str, Any] = {
    "url": "kafka://there:1",
    "datadir": "elsewhere",
    "broker_commit_interval": 2.8,
    "broker_session_timeout": datetime.timedelta(seconds=61),
    "broker_request_timeout": 91.0,
    "broker_rebalance_timeout": 62,
    "consumer_group_instance_id": "a",
    "consumer_max_fetch_size": 5_000,
    "producer_compression_type": "lz4",
    "stream_processing_timeout": 301.0,
    "table_standby_replicas": 1,
    "topic_replication_factor": 3,
}


def test_every_name_of_fausts_is_one_of_ours_or_has_one_answer() -> None:
    assert GIVEN.keys() == RENAMED.keys()
    assert set(RENAMED.values()) <= SETTINGS
    assert len(set(RENAMED.values())) == len(RENAMED)
    assert not (RENAMED.keys() | ALWAYS.keys()) & SETTINGS
    assert get_type_hints(Ported).keys() == RENAMED.keys() | ALWAYS.keys()


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
        with pytest.raises(fs.SettingsError, match=f"{name}={denied!r}.*leave it out, or write"):
            fs.App("ported", **{name: denied})
        with pytest.raises(fs.SettingsError, match=rf"app\.conf\({name}="):
            setattr(app.conf, name, denied)


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
        ("table_cleanup_interval", 1, "is no setting here, as it is in Faust: rows past their"),
        ("version", 3, r"is given when the app is made: App\(version=\)"),
    ):
        with pytest.raises(fs.SettingsError, match=message):
            setattr(app.conf, name, value)
    with pytest.raises(
        AttributeError, match=r"no setting 'table_cleanup_interval' here, as it is in Faust: rows"
    ):
        app.conf.table_cleanup_interval  # noqa: B018
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
