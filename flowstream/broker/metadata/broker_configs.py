"""This broker's settings as changed while it runs (KIP-226): which may be, what is refused, and the
settings that result.

Pure. `effective` is the one place where the settings as given and the image's ConfigRecords become
what the broker works with, at the start and after every change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flowstream.broker.config import SETTINGS, BrokerConfig, Dynamic
from flowstream.broker.metadata.image import Image, ResourceType
from flowstream.broker.setting_kinds import BadValue

DYNAMIC = frozenset(
    {
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "log.cleaner.backoff.ms",
        "log.cleaner.dedupe.buffer.size",
        "log.cleaner.delete.retention.ms",
        "log.cleaner.io.buffer.load.factor",
        "log.cleaner.io.max.bytes.per.second",
        "log.cleaner.max.compaction.lag.ms",
        "log.cleaner.min.cleanable.ratio",
        "log.cleaner.min.compaction.lag.ms",
        "log.cleanup.policy",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
        "log.index.interval.bytes",
        "log.index.size.max.bytes",
        "log.local.retention.bytes",
        "log.local.retention.ms",
        "log.message.timestamp.after.max.ms",
        "log.message.timestamp.before.max.ms",
        "log.message.timestamp.type",
        "log.preallocate",
        "log.retention.bytes",
        "log.retention.ms",
        "log.roll.jitter.ms",
        "log.roll.ms",
        "log.segment.bytes",
        "log.segment.delete.delay.ms",
        "max.connections",
        "max.connections.per.ip",
        "message.max.bytes",
        "min.insync.replicas",
        "producer.id.expiration.ms",
        "unclean.leader.election.enable",
    }
)
"""The settings that can be changed while the broker runs. Whoever reads one of these must read it
from `Cores.config` each time."""


class RefusedSetting(ValueError):
    """A change that Kafka refuses with INVALID_REQUEST; the text is the answer's error message."""


def effective(given: BrokerConfig, image: Image) -> BrokerConfig:
    """The settings as given, under what is set for all brokers, under what is set for this one."""
    cluster = _known(image.configs.get((ResourceType.BROKER, ""), {}))
    own = _known(image.configs.get((ResourceType.BROKER, str(given.node_id)), {}))
    if not cluster and not own:
        return given
    values = {
        SETTINGS[name].attribute: SETTINGS[name].kind.parse(text)
        for name, text in {**cluster, **own}.items()
    }
    return replace(given, **values, dynamic=Dynamic(given, own, cluster))


def check(overrides: Mapping[str, str]) -> None:
    """Raises RefusedSetting when a broker may not have `overrides` together."""
    fixed = [name for name in overrides if name in SETTINGS and name not in DYNAMIC]
    if fixed:
        raise RefusedSetting(f"Cannot update these configs dynamically: [{', '.join(fixed)}]")
    for name, text in overrides.items():
        if name not in SETTINGS:
            # Kafka keeps it, in case a plug-in wants it: here nothing would ever read it.
            raise RefusedSetting(f"Unknown broker config name: {name}")
        try:
            SETTINGS[name].kind.parse(text)
        except BadValue as error:
            raise RefusedSetting(
                f"Invalid value {text} for configuration {name}: {error}"
            ) from None
    if "log.retention.ms" in overrides and int(overrides["log.retention.ms"]) == 0:
        raise RefusedSetting(
            "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
        )


def _known(texts: Mapping[str, str]) -> dict[str, str]:
    """What applies here: a directory that another broker wrote may hold more, and is ignored as
    Kafka ignores what it cannot use.
    """
    return {name: text for name, text in texts.items() if name in DYNAMIC and _is_valid(name, text)}


def _is_valid(name: str, text: str) -> bool:
    try:
        SETTINGS[name].kind.parse(text)
    except BadValue:
        return False
    return True
