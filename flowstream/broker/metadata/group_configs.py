"""Configurations of a consumer group (KIP-848): Kafka's names, the broker settings that are their
defaults and bounds, and their checks.

Pure declared data. Share and streams groups are not served, so their names are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowstream.broker.config import SETTINGS, BrokerConfig
from flowstream.broker.metadata.synonyms import Source, Synonym, synonyms
from flowstream.broker.setting_kinds import BadValue, Kind, whole

ASSIGNMENT_INTERVAL = "consumer.assignment.interval.ms"
SESSION_TIMEOUT = "consumer.session.timeout.ms"
HEARTBEAT_INTERVAL = "consumer.heartbeat.interval.ms"


class InvalidGroupConfig(ValueError):
    """A group configuration that Kafka refuses with INVALID_CONFIG; the text is the answer's error
    message."""


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """One group configuration: its broker setting, and the settings that bound what a group may
    choose."""

    name: str
    kind: Kind
    server_name: str
    least: str
    most: str
    doc: str


GROUP_CONFIGS: Mapping[str, GroupConfig] = {
    each.name: each
    for each in (
        GroupConfig(
            ASSIGNMENT_INTERVAL,
            whole("int", 0),
            "group.consumer.assignment.interval.ms",
            "group.consumer.min.assignment.interval.ms",
            "group.consumer.max.assignment.interval.ms",
            "shortest time between two target assignments",
        ),
        GroupConfig(
            HEARTBEAT_INTERVAL,
            whole("int", 1),
            "group.consumer.heartbeat.interval.ms",
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
            "how often a member sends a heartbeat",
        ),
        GroupConfig(
            SESSION_TIMEOUT,
            whole("int", 1),
            "group.consumer.session.timeout.ms",
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
            "silence after which a member is out",
        ),
    )
}


def effective(config: BrokerConfig, overrides: Mapping[str, str]) -> dict[str, int]:
    """Every configuration of a group: its own, else the broker's. A value that the broker's bounds
    no longer allow counts as the bound.
    """
    values: dict[str, int] = {}
    for name, declared in GROUP_CONFIGS.items():
        value = _server(config, declared.server_name)
        if name in overrides:
            value = declared.kind.parse(overrides[name])
        low, high = _server(config, declared.least), _server(config, declared.most)
        values[name] = max(low, min(value, high))
    return values


def group_synonyms(
    config: BrokerConfig, name: str, overrides: Mapping[str, str]
) -> tuple[Synonym, ...]:
    """Every value for a group's configuration `name`, its own first."""
    inherited = synonyms(config, (GROUP_CONFIGS[name].server_name,))
    if name in overrides:
        return (Synonym(name, overrides[name], Source.GROUP), *inherited)
    return inherited


def check(config: BrokerConfig, overrides: Mapping[str, str]) -> None:
    """Raises InvalidGroupConfig when a group may not have `overrides` together."""
    for name, text in overrides.items():
        declared = GROUP_CONFIGS.get(name)
        if declared is None:
            raise InvalidGroupConfig(f"Unknown group config name: {name}")
        try:
            value = declared.kind.parse(text)
        except BadValue as error:
            raise InvalidGroupConfig(
                f"Invalid value {text} for configuration {name}: {error}"
            ) from None
        if value < _server(config, declared.least):
            raise InvalidGroupConfig(f"{name} must be greater than or equal to {declared.least}")
        if value > _server(config, declared.most):
            raise InvalidGroupConfig(f"{name} must be less than or equal to {declared.most}")
    values = effective(config, overrides)
    if values[SESSION_TIMEOUT] <= values[HEARTBEAT_INTERVAL]:
        raise InvalidGroupConfig(f"{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}")


def _server(config: BrokerConfig, name: str) -> int:
    value: int = getattr(config, SETTINGS[name].attribute)
    return value
