"""What apps that come from Faust say of settings, and what it is here.

Pure. A setting that has another name here may be said by Faust's; what is always so may be said,
and its contrary is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from flowstream.processing.errors import SettingsError

RENAMED: Final = {
    "url": "broker",
    "datadir": "data_dir",
    "broker_commit_interval": "commit_interval",
    "broker_session_timeout": "session_timeout",
    "broker_request_timeout": "request_timeout",
    "broker_rebalance_timeout": "rebalance_timeout",
    "consumer_group_instance_id": "group_instance_id",
    "consumer_max_fetch_size": "max_partition_fetch_bytes",
    "producer_compression_type": "compression",
    "stream_processing_timeout": "stall_warning",
    "table_standby_replicas": "standby_replicas",
    "topic_replication_factor": "replication_factor",
}
"""Faust's name of a setting, and ours."""


class AlwaysSo(NamedTuple):
    """The values of a setting that has one answer here, the first as it is told, and why."""

    values: tuple[object, ...]
    why: str


ALWAYS: Final = {
    "store": AlwaysSo(
        ("rocksdb://",),
        "tables are kept in RocksDB, always, and their changelogs are what they are restored from",
    ),
    "reply_create_topic": AlwaysSo(
        (True,), "the topic of replies is made by whoever asks first, always"
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
    "web_in_thread": AlwaysSo((False,), "the web server is part of the loop, and needs no thread"),
}
"""Settings of Faust's that have one answer here."""

PORTED: Final = (*RENAMED, *ALWAYS)


def ours(ported: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by our names, of those by Faust's; SettingsError when one is said twice, or denied.

    `given` are those that were said by our names.
    """
    found: dict[str, Any] = {}
    for name, value in ported.items():
        if name in ALWAYS:
            check_always_so(name, value, "App")
            continue
        setting = RENAMED[name]
        if value is None:
            continue
        if given.get(setting) is not None or setting in found:
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
