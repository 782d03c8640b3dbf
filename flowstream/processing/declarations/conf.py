"""`app.conf`: the settings as an object to read, and to assign to while that still counts; and what
`App` takes of Faust's.
"""

from __future__ import annotations

import datetime
import logging
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

from flowstream.processing.declarations.ported import (
    ALWAYS,
    BOUNDS,
    RENAMED,
    check_always_so,
    check_bounds,
)
from flowstream.processing.declarations.turning import TURNED, app_directory, turned
from flowstream.processing.environment.credentials import Credentials
from flowstream.processing.environment.settings import SETTINGS, changed
from flowstream.processing.environment.settings import Settings as Values
from flowstream.processing.errors import SettingsError
from flowstream.processing.instead import INSTEAD
from flowstream.processing.values.durations import Seconds

OF_THE_APP = ("id", "name", "version", "env_prefix")
READ_BY_TOPICS = ("key_serializer", "value_serializer")
"""Settings that declarations of topics look at."""


class Ported(TypedDict, total=False):
    """Arguments of Faust's `App` that are settings of ours by another name, or always so."""

    url: str | None
    datadir: str | Path | None
    broker_commit_interval: Seconds | None
    broker_session_timeout: Seconds | None
    broker_request_timeout: Seconds | None
    broker_rebalance_timeout: Seconds | None
    consumer_group_instance_id: str | None
    consumer_max_fetch_size: int | None
    producer_compression_type: str | None
    stream_processing_timeout: Seconds | None
    table_standby_replicas: int | None
    topic_replication_factor: int | None
    store: str
    reply_create_topic: bool
    broker_check_crcs: bool
    consumer_auto_offset_reset: str
    producer_acks: int | str
    producer_threaded: bool
    recovery_consistency_check: bool
    stream_publish_on_commit: bool
    topic_disable_leader: bool
    web_in_thread: bool
    producer_request_timeout: Seconds | None
    blocking_timeout: Seconds | None
    broker_commit_livelock_soft_timeout: Seconds | None
    broker_consumer: str | None
    broker_client_id: str | None
    broker_commit_every: int | None
    broker_heartbeat_interval: Seconds | None
    broker_max_poll_records: int | None
    stream_buffer_maxsize: int | None
    producer_max_batch_size: int | None
    producer_max_request_size: int | None
    web_bind: str | None
    client_id: str | None
    commit_every: int | None
    connections_max_idle: Seconds | None
    debug: bool | None
    heartbeat_interval: Seconds | None
    loghandlers: Sequence[logging.Handler] | None
    logging_config: Mapping[str, Any] | None
    max_batch_bytes: int | None
    max_buffered_records: int | None
    max_poll_records: int | None
    max_record_bytes: int | None
    on_error: str | None
    agent_supervisor: Any
    stream_ack_exceptions: bool | None
    reply_expires: Seconds | None
    reply_to: str | None
    reply_to_prefix: str | None
    ssl_context: ssl.SSLContext | None
    web_cors_options: Mapping[str, Any] | None
    timezone: str | datetime.tzinfo | None
    topic_allow_declare: bool | None
    worker_redirect_stdouts: bool | None
    worker_redirect_stdouts_level: str | int | None
    env_prefix: str | None
    broker_credentials: Credentials | ssl.SSLContext | None
    web_enabled: bool | None
    canonical_url: str | None
    consumer_connections_max_idle_ms: int | None
    producer_connections_max_idle_ms: int | None
    tabledir: str | Path | None
    broker_producer: str | None
    broker_api_version: str
    consumer_api_version: str
    producer_api_version: str
    stream_recovery_delay: float
    stream_ack_cancelled_tasks: bool
    web_stats_enabled: bool
    web_tables_enabled: bool
    web_metrics_enabled: bool
    web_router_enabled: bool
    web_graph_enabled: bool
    web_transport: str
    broker_max_poll_interval: Seconds
    producer_linger: Seconds
    producer_linger_ms: int
    table_cleanup_interval: Seconds
    table_key_index_size: int
    consumer_metadata_max_age_ms: int
    producer_metadata_max_age_ms: int


class Configured(Protocol):
    """What has settings."""

    id: str
    name: str
    version: int
    settings: Values
    bounds: dict[str, Any]

    @property
    def has_worker(self) -> bool:
        """Whether a worker has been made for it."""

    def id_of(self, version: int) -> str:
        """The app's id in a version."""

    @property
    def topics(self) -> Mapping[str, Any]:
        """Those that are declared."""

    @property
    def patterns(self) -> Sequence[Any]:
        """Topics by a pattern that are declared."""

    @property
    def agents(self) -> Mapping[str, Any]:
        """Those that are declared."""

    def change_settings(self, settings: Values) -> None:
        """Use these from now on."""


class Settings:
    """The settings of an app. A name may be Faust's: `app.conf.broker_commit_interval` is
    `app.settings.commit_interval`. What is assigned is checked, and counts until the app's worker
    is made; SettingsError when it cannot be, or counts no more.
    """

    def __init__(self, app: Configured) -> None:
        self.__dict__["_app"] = app

    def __repr__(self) -> str:
        return repr(self._app.settings)

    def __getattr__(self, name: str) -> Any:
        setting = RENAMED.get(name, name)
        if setting in SETTINGS:
            return getattr(self._app.settings, setting)
        if name in OF_THE_APP:
            return getattr(self._app, name)
        if name in ALWAYS:
            return ALWAYS[name].values[0]
        if name in TURNED:
            return TURNED[name].back(self._app)
        if name in BOUNDS:
            return BOUNDS[name].ours(self._app.settings)
        raise AttributeError(f"there is no setting {name!r} here{_instead(name)}")

    def __setattr__(self, name: str, value: object) -> None:
        if name in ALWAYS:
            check_always_so(name, value, "app.conf")
            return
        if name in BOUNDS:
            check_bounds({name: value}, self._app.settings, "app.conf")
            self._app.bounds[name] = value
            return
        app, setting = self._app, RENAMED.get(name, name)
        if name in OF_THE_APP:
            raise SettingsError(f"app.conf.{name} is given when the app is made: App({name}=)")
        if setting not in (*SETTINGS, *TURNED) and _instead(name):
            raise SettingsError(f"app.conf.{name} is no setting here{_instead(name)}")
        if name in TURNED:
            settings = turned(name, value, app, "app.conf")
        else:
            settings = changed(app.settings, setting, value, f"app.conf.{name}")
        if app.has_worker:
            raise SettingsError(
                f"app.conf.{name} is assigned too late, its worker has been made: do it where the"
                " app is declared, or in on_configured"
            )
        self._refuse_too_late(name, settings)
        app.change_settings(settings)

    def _refuse_too_late(self, name: str, settings: Values) -> None:
        """SettingsError when a declaration that has been made looked at what is other now."""
        app: Configured = self._app
        topics = [each.name for each in (*app.topics.values(), *app.patterns)]
        crontabs = [each for each in app.agents if each.startswith("crontab.")]
        looked = {
            **dict.fromkeys(READ_BY_TOPICS, ("a topic", topics)),
            "timezone": ("a crontab", crontabs),
            "on_error": ("an agent", app.agents),
        }
        for setting, (what, declared) in looked.items():
            if declared and getattr(settings, setting) != getattr(app.settings, setting):
                raise SettingsError(
                    f"app.conf.{name} is looked at when {what} is declared, as"
                    f" {', '.join(declared)} has been: assign it before, or say App({setting}=)"
                )

    @property
    def appdir(self) -> Path:
        """Where the state of the app is."""
        return app_directory(self._app)

    def find_old_versiondirs(self) -> list[Path]:
        """Where the state of versions before the app's is, on this machine."""
        app: Configured = self._app
        older = {app.name, *(app.id_of(version) for version in range(2, app.version))}
        return [path for path in sorted(self.appdir.parent.glob("*")) if path.name in older]

    def __dir__(self) -> list[str]:
        return sorted({*SETTINGS, *RENAMED, *ALWAYS, *BOUNDS, *TURNED, *OF_THE_APP})


def _instead(name: str) -> str:
    how = INSTEAD.get(f"App({name}=)")
    return "" if how is None else f", as it is in Faust: {how}"
