"""Topic configurations: Kafka's names, kinds and bounds, and which broker setting each takes its
default from.

Pure declared data and its checks. What a log does with them is not known here.
"""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowstream.broker.config import (
    CLEANUP_POLICIES,
    CODECS,
    NO_EFFECT,
    TIMESTAMP_TYPES,
    BrokerConfig,
    text_of,
)
from flowstream.broker.metadata.synonyms import Source, source_of, synonyms
from flowstream.broker.setting_kinds import FLAG, BadValue, Kind, choice, fraction, several, whole
from flowstream.wire.messages.create_topics import CreatableTopicConfigs


class InvalidConfig(ValueError):
    """A topic configuration that Kafka refuses with INVALID_CONFIG; the text is the answer's error
    message."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """One topic configuration, and how its default follows from the broker's settings."""

    name: str
    kind: Kind
    default: Callable[[BrokerConfig], object]
    server_names: tuple[str, ...]
    """The one with the same unit first, then coarser ones (hours) that stand in for it."""
    doc: str


_Source = tuple[Callable[[BrokerConfig], object], tuple[str, ...]]


def _from(attribute: str, *names: str) -> _Source:
    return lambda config: getattr(config, attribute), names or (attribute.replace("_", "."),)


def _fixed(value: object) -> _Source:
    return lambda config: value, ()


def _declare(name: str, kind: Kind, source: _Source, doc: str) -> TopicConfig:
    return TopicConfig(name, kind, source[0], source[1], doc)


# fmt: off
_DECLARED = (
    _declare("cleanup.policy", several(*CLEANUP_POLICIES), _from("log_cleanup_policy"), "what happens to old segments"),
    _declare("compression.gzip.level", whole("int", -1, 9), _from("compression_gzip_level"), "level of gzip"),
    _declare("compression.lz4.level", whole("int", 1, 17), _from("compression_lz4_level"), "level of lz4"),
    _declare("compression.type", choice(*CODECS), _from("compression_type"), "codec of stored batches"),
    _declare("compression.zstd.level", whole("int", -131072, 22), _from("compression_zstd_level"), "level of zstd"),
    _declare("delete.retention.ms", whole("long", 0), _from("log_cleaner_delete_retention_ms"), "how long tombstones stay"),
    _declare("file.delete.delay.ms", whole("long", 0), _from("log_segment_delete_delay_ms"), "time before a removed file is deleted" + NO_EFFECT),
    _declare("flush.messages", whole("long", 1), _from("log_flush_interval_messages"), "records after which the log is flushed" + NO_EFFECT),
    _declare("flush.ms", whole("long", 0), _from("flush_ms", "log.flush.interval.ms"), "time after which the log is flushed" + NO_EFFECT),
    _declare("follower.replication.throttled.replicas", several(), _fixed(""), "throttled followers" + NO_EFFECT),
    _declare("index.interval.bytes", whole("int", 0), _from("log_index_interval_bytes"), "bytes between two index entries"),
    _declare("leader.replication.throttled.replicas", several(), _fixed(""), "throttled leaders" + NO_EFFECT),
    _declare("local.retention.bytes", whole("long", -2), _from("log_local_retention_bytes"), "bytes kept locally when tiered" + NO_EFFECT),
    _declare("local.retention.ms", whole("long", -2), _from("log_local_retention_ms"), "time kept locally when tiered" + NO_EFFECT),
    _declare("max.compaction.lag.ms", whole("long", 1), _from("log_cleaner_max_compaction_lag_ms"), "longest time uncompacted"),
    _declare("max.message.bytes", whole("int", 0), _from("message_max_bytes"), "largest record batch"),
    _declare("message.timestamp.after.max.ms", whole("long", 0), _from("log_message_timestamp_after_max_ms"), "how far in the future a record may be"),
    _declare("message.timestamp.before.max.ms", whole("long", 0), _from("log_message_timestamp_before_max_ms"), "how far in the past a record may be"),
    _declare("message.timestamp.type", choice(*TIMESTAMP_TYPES), _from("log_message_timestamp_type"), "whose time a record carries"),
    _declare("min.cleanable.dirty.ratio", fraction(0, 1), _from("log_cleaner_min_cleanable_ratio"), "dirty part at which it is compacted"),
    _declare("min.compaction.lag.ms", whole("long", 0), _from("log_cleaner_min_compaction_lag_ms"), "shortest time uncompacted"),
    _declare("min.insync.replicas", whole("int", 1), _from("min_insync_replicas"), "replicas that must have a write of acks=all"),
    _declare("preallocate", FLAG, _from("log_preallocate"), "preallocate segment files" + NO_EFFECT),
    _declare("remote.log.copy.disable", FLAG, _fixed(False), "no new data to the tier" + NO_EFFECT),
    _declare("remote.log.delete.on.disable", FLAG, _fixed(False), "delete tiered data when tiering ends" + NO_EFFECT),
    _declare("remote.storage.enable", FLAG, _fixed(False), "tiered storage"),
    _declare("retention.bytes", whole("long"), _from("log_retention_bytes"), "bytes kept per partition"),
    _declare("retention.ms", whole("long", -1), _from("retention_ms", "log.retention.ms", "log.retention.minutes", "log.retention.hours"), "time kept"),
    _declare("segment.bytes", whole("int", 1 << 20), _from("log_segment_bytes"), "size at which a segment is closed"),
    _declare("segment.index.bytes", whole("int", 4), _from("log_index_size_max_bytes"), "largest offset index"),
    _declare("segment.jitter.ms", whole("long", 0), _from("roll_jitter_ms", "log.roll.jitter.ms", "log.roll.jitter.hours"), "time taken off segment.ms, at most: another one for each segment"),
    _declare("segment.ms", whole("long", 1), _from("roll_ms", "log.roll.ms", "log.roll.hours"), "time after which a segment is closed"),
    _declare("unclean.leader.election.enable", FLAG, _from("unclean_leader_election_enable"), "let a replica lead that lacks data" + NO_EFFECT),
)
# fmt: on

TOPIC_CONFIGS: Mapping[str, TopicConfig] = {each.name: each for each in _DECLARED}


def default_text(config: BrokerConfig, name: str) -> str:
    """What topic configuration `name` is for a topic that does not set it."""
    return text_of(TOPIC_CONFIGS[name].default(config)) or ""


def effective(config: BrokerConfig, overrides: Mapping[str, str]) -> dict[str, str]:
    """Every configuration of a topic: the broker's defaults under the topic's own."""
    return {name: overrides.get(name, default_text(config, name)) for name in TOPIC_CONFIGS}


def log_settings(config: BrokerConfig, overrides: Mapping[str, str]) -> dict[str, str]:
    """What the logs of a topic need: its configurations, and what is set for all topics alike."""
    return effective(config, overrides) | {
        "producer.id.expiration.ms": str(config.producer_id_expiration_ms),
        "record.validation": config.record_validation,
    }


def source(config: BrokerConfig, name: str, overrides: Mapping[str, str]) -> Source:
    """Who set configuration `name` of a topic that sets `overrides`."""
    if name in overrides:
        return Source.TOPIC
    return source_of(synonyms(config, TOPIC_CONFIGS[name].server_names))


class Described:
    """The configurations of topics as CreateTopics answers them (KIP-525). Most new topics are as
    most others: what a topic does not set is described once.
    """

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._unset: tuple[CreatableTopicConfigs, ...] = ()

    def of(self, overrides: Mapping[str, str]) -> tuple[CreatableTopicConfigs, ...]:
        """Every configuration of a topic that sets `overrides`."""
        if not self._unset:
            self._unset = self._described({})
        return self._described(overrides) if overrides else self._unset

    def _described(self, overrides: Mapping[str, str]) -> tuple[CreatableTopicConfigs, ...]:
        config = self._config
        return tuple(
            CreatableTopicConfigs(
                name=name, value=value, config_source=source(config, name, overrides)
            )
            for name, value in effective(config, overrides).items()
        )


def check(config: BrokerConfig, overrides: Mapping[str, str | None]) -> dict[str, str]:
    """The same `overrides` when a topic may have them together. Raises InvalidConfig."""
    accepted: dict[str, str] = {}
    missing = sorted(name for name, value in overrides.items() if value is None)
    if missing:
        raise InvalidConfig(f"Null value not supported for topic configs: {','.join(missing)}")
    for name, text in overrides.items():
        declared = TOPIC_CONFIGS.get(name)
        if declared is None:
            raise InvalidConfig(f"Unknown topic config name: {name}")
        assert text is not None
        try:
            declared.kind.parse(text)
        except BadValue as error:
            raise InvalidConfig(f"Invalid value {text} for configuration {name}: {error}") from None
        accepted[name] = text
    if accepted:
        _check_together({n: accepted.get(n, default_text(config, n)) for n in _JUDGED_TOGETHER})
    return accepted


_JUDGED_TOGETHER = ("min.compaction.lag.ms", "max.compaction.lag.ms", "remote.storage.enable")


def _check_together(configs: Mapping[str, str]) -> None:
    low, high = int(configs["min.compaction.lag.ms"]), int(configs["max.compaction.lag.ms"])
    if low > high:
        raise InvalidConfig(
            f"conflict topic config setting min.compaction.lag.ms ({low}) "
            f"> max.compaction.lag.ms ({high})"
        )
    if configs["remote.storage.enable"].strip().lower() == "true":
        raise InvalidConfig(
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage."
        )
