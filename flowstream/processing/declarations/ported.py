"""What apps that come from Faust say of settings, and what it is here.

Pure. A setting that has another name here may be said by Faust's; what is always so may be said,
and its contrary is refused with the reason.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from flowstream.processing.declarations.turning import TURNED
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import SettingsError

LOOKED_AT_MS = 3_000

RENAMED: Final = {
    "url": "broker",
    "datadir": "data_dir",
    "broker_commit_interval": "commit_interval",
    "broker_session_timeout": "session_timeout",
    "broker_request_timeout": "request_timeout",
    "producer_request_timeout": "request_timeout",
    "broker_rebalance_timeout": "rebalance_timeout",
    "consumer_group_instance_id": "group_instance_id",
    "consumer_max_fetch_size": "max_partition_fetch_bytes",
    "producer_compression_type": "compression",
    "stream_processing_timeout": "stall_warning",
    "blocking_timeout": "stall_warning",
    "broker_commit_livelock_soft_timeout": "stall_warning",
    "broker_client_id": "client_id",
    "broker_commit_every": "commit_every",
    "broker_heartbeat_interval": "heartbeat_interval",
    "broker_max_poll_records": "max_poll_records",
    "stream_buffer_maxsize": "max_buffered_records",
    "producer_max_batch_size": "max_batch_bytes",
    "producer_max_request_size": "max_record_bytes",
    "web_bind": "web_host",
    "broker_consumer": "broker",
    "broker_producer": "broker",
    "table_standby_replicas": "standby_replicas",
    "topic_replication_factor": "replication_factor",
}
"""Faust's names of settings, and ours. Where several are one here, they may be said together when
they agree."""


SAME: Final = (
    "client_id",
    "commit_every",
    "connections_max_idle",
    "debug",
    "heartbeat_interval",
    "loghandlers",
    "logging_config",
    "max_batch_bytes",
    "max_buffered_records",
    "max_poll_records",
    "max_record_bytes",
    "on_error",
    "reply_expires",
    "reply_to",
    "reply_to_prefix",
    "ssl_context",
    "web_cors_options",
    "timezone",
    "topic_allow_declare",
    "worker_redirect_stdouts",
    "worker_redirect_stdouts_level",
)
"""Settings of ours that few say in code; most have Faust's names."""


class AlwaysSo(NamedTuple):
    """The values of a setting that has one answer here, the first as it is told, and why."""

    values: tuple[object, ...]
    why: str


_ASKED = AlwaysSo(("auto",), "the cluster is asked for what it offers, and that is what is spoken")
_SERVED = AlwaysSo((True,), "a worker with a web_port serves metrics and tables")

ALWAYS: Final = {
    "store": AlwaysSo(
        ("rocksdb://",),
        "tables are kept in RocksDB, always, and their changelogs are what they are restored from",
    ),
    "reply_create_topic": AlwaysSo(
        (True,), "the topic of replies is made where it is missing, always"
    ),
    "broker_check_crcs": AlwaysSo((True,), "checksums of what is fetched are looked at, always"),
    "consumer_auto_offset_reset": AlwaysSo(
        ("earliest",),
        "an app begins at the oldest records, and never passes any over by itself: `flowstream"
        " groups` moves offsets",
    ),
    "producer_acks": AlwaysSo((-1, "all"), "a record is there when all in-sync replicas have it"),
    "producer_threaded": AlwaysSo((False,), "sending is part of the loop, and needs no thread"),
    "recovery_consistency_check": AlwaysSo(
        (True,), "a store that does not fit its changelog is refused, always"
    ),
    "stream_publish_on_commit": AlwaysSo(
        (True,), "what an event sends commits together with its offset"
    ),
    "topic_disable_leader": AlwaysSo((True,), "there is no such topic"),
    "broker_api_version": _ASKED,
    "consumer_api_version": _ASKED,
    "producer_api_version": _ASKED,
    "stream_recovery_delay": AlwaysSo((0.0, 0), "nothing waits after a recovery"),
    "stream_ack_cancelled_tasks": AlwaysSo(
        (False,), "an event whose processing was cut off is processed again"
    ),
    "web_stats_enabled": _SERVED,
    "web_tables_enabled": _SERVED,
    "web_metrics_enabled": _SERVED,
    "web_router_enabled": AlwaysSo(
        (True,), "a page of a table's key is answered by the worker that has it, from any worker"
    ),
    "web_graph_enabled": AlwaysSo((False,), "no page draws the app"),
    "web_transport": AlwaysSo(("tcp:", "tcp://"), "the web server listens at a TCP port"),
    "web_in_thread": AlwaysSo((False,), "the web server is part of the loop, and needs no thread"),
}
"""Settings of Faust's that have one answer here."""


class Bound(NamedTuple):
    """A bound of Faust's that is kept without being set: any that is not below ours may be said."""

    ours: Callable[[Settings], float]
    """What is kept, in the unit in which Faust's is said."""
    why: str


_LOOKED = "topics are looked at every three seconds"
_LINGER = "results wait for the commit of their epoch, and no longer than `commit_interval`"

BOUNDS: Final = {
    "broker_max_poll_interval": Bound(
        lambda settings: settings.session_timeout,
        "a worker that does not come to poll is out of its group after `session_timeout`",
    ),
    "producer_linger": Bound(lambda settings: settings.commit_interval, _LINGER),
    "producer_linger_ms": Bound(lambda settings: 1000 * settings.commit_interval, _LINGER),
    "table_cleanup_interval": Bound(
        lambda settings: settings.commit_interval,
        "rows past their time go with the commit of an epoch, every `commit_interval`",
    ),
    "table_key_index_size": Bound(
        lambda _: 0, "keys are not looked up anywhere but in the rows, and take no room beside them"
    ),
    "consumer_metadata_max_age_ms": Bound(lambda _: LOOKED_AT_MS, _LOOKED),
    "producer_metadata_max_age_ms": Bound(lambda _: LOOKED_AT_MS, _LOOKED),
}
"""Bounds of Faust's that need no setting here."""

PORTED: Final = (*RENAMED, *SAME, *ALWAYS, *BOUNDS, *TURNED, "env_prefix")


def ours(ported: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by our names, of those by Faust's; SettingsError when one is said in two ways, or
    denied. `given` are those that were said by our names.
    """
    found: dict[str, Any] = {}
    for name, value in ported.items():
        if name in ALWAYS:
            check_always_so(name, value, "App")
        if name not in (*RENAMED, *SAME) or value is None:
            continue
        setting = RENAMED.get(name, name)
        if given.get(setting) is not None or found.get(setting, value) != value:
            raise SettingsError(
                f"App({name}=) is the setting {setting!r}, which is given, too: leave one out"
            )
        found[setting] = value
    return found


def check_always_so(name: str, value: object, by: str) -> None:
    """Refuse another answer than the one there is; `by` is where it was said."""
    always = ALWAYS[name]
    if not any(value == each and type(value) is type(each) for each in always.values):
        raise SettingsError(
            f"{by}({name}={value!r}): {always.why}; leave it out, or write {name}="
            f"{always.values[0]!r}"
        )


def check_bounds(said: Mapping[str, object], settings: Settings, by: str) -> None:
    """Refuse bounds that are tighter than what is kept with these settings."""
    for name, value in said.items():
        if value is None:
            continue
        kept, span = BOUNDS[name].ours(settings), value
        if isinstance(span, datetime.timedelta):
            span = span.total_seconds()
        if isinstance(span, bool) or not isinstance(span, int | float) or not span >= kept:
            raise SettingsError(
                f"{by}({name}={value!r}): {BOUNDS[name].why}; that is {kept:g} now, and {name}="
                " may be no less"
            )
