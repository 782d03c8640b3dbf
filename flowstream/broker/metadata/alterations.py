"""What clients may change of configurations (KIP-133, KIP-339): topics, this broker or all brokers,
groups.

Pure, all in Kafka's words, error messages too. One resource's refusal does not stop the others.
Only what really changes becomes a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from flowstream.broker.config import SETTINGS, BrokerConfig, text_of
from flowstream.broker.metadata import broker_configs, group_configs, topic_configs
from flowstream.broker.metadata.image import Image, ResourceType
from flowstream.broker.metadata.names import node_id, problem_with
from flowstream.broker.metadata.plan import Plan, Refusal
from flowstream.broker.metadata.records import ConfigRecord
from flowstream.broker.setting_kinds import Kind
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.primitives import STRING_LENGTH_MAX


class Operation(IntEnum):
    """What is done to one configuration; Kafka's numbers."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class Change(NamedTuple):
    """One configuration key and what is to be done to it."""

    name: str
    operation: int
    value: str | None


class Wanted(NamedTuple):
    """The changes of one resource. With `replaces` its other configurations go (AlterConfigs)."""

    type: int
    name: str
    changes: tuple[Change, ...]
    replaces: bool = False


class Outcome(NamedTuple):
    """What became of one resource."""

    error: ErrorCode
    message: str | None


MAX_RECORDS = 10_000
"""Records that one request may cause, as Kafka's controller bounds one batch of them (X3)."""

_OK = Outcome(ErrorCode.NONE, None)


def alter_configs(
    image: Image, config: BrokerConfig, wanted: Sequence[Wanted], *, validate_only: bool
) -> Plan[Outcome]:
    """Change configurations; `validate_only` answers the same without records."""
    seen = Counter((each.type, each.name) for each in wanted)
    records: list[ConfigRecord] = []
    outcomes: list[Outcome] = []
    for each in wanted:
        try:
            if seen[each.type, each.name] > 1:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            records += _bounded(_alter(image, config, each), len(records))
        except Refusal as refusal:
            outcomes.append(Outcome(refusal.error, refusal.message))
        else:
            outcomes.append(_OK)
    return Plan(() if validate_only else tuple(records), tuple(outcomes))


def _bounded(records: list[ConfigRecord], already: int) -> list[ConfigRecord]:
    if already + len(records) > MAX_RECORDS:
        raise Refusal(
            ErrorCode.POLICY_VIOLATION,
            f"Excessively large number of changes per request: at most {MAX_RECORDS}.",
        )
    return records


def _alter(image: Image, config: BrokerConfig, wanted: Wanted) -> list[ConfigRecord]:
    if wanted.type == ResourceType.BROKER_LOGGER and not wanted.replaces:
        raise _no_logger(config, wanted)
    _check_changes(wanted.changes)
    _check_resource(image, config, wanted)
    current = image.configs.get((wanted.type, wanted.name), {})
    after = {} if wanted.replaces else dict(current)
    for change in wanted.changes:
        value = _changed(config, wanted.type, current.get(change.name), change)
        if value is None:
            after.pop(change.name, None)
        else:
            after[change.name] = value
    _check_together(config, wanted.type, after)
    return [
        ConfigRecord(
            resource_type=wanted.type,
            resource_name=wanted.name,
            name=name,
            value=after.get(name),
        )
        for name in {**current, **after}
        if current.get(name) != after.get(name)
    ]


def _check_changes(changes: Sequence[Change]) -> None:
    if len({change.name for change in changes}) < len(changes):
        raise Refusal(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [
        change.name
        for change in changes
        if change.value is None and change.operation != Operation.DELETE
    ]
    if nulls:
        message = f"Null value not supported for : {','.join(nulls)}"
        raise Refusal(ErrorCode.INVALID_REQUEST, message)


def _check_resource(image: Image, config: BrokerConfig, wanted: Wanted) -> None:
    name = wanted.name
    match wanted.type:
        case ResourceType.TOPIC:
            _check_topic(image, name)
        case ResourceType.BROKER:
            if name and _node_id(name) != config.node_id:
                raise Refusal(
                    ErrorCode.INVALID_REQUEST,
                    f"Unexpected broker id, expected {config.node_id}, but received {name}",
                )
        case ResourceType.GROUP:
            if not name:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
        case ResourceType.CLIENT_METRICS:
            raise Refusal(
                ErrorCode.INVALID_REQUEST,
                "Client metrics subscriptions are not supported: this broker takes no telemetry.",
            )
        case _:
            raise Refusal(ErrorCode.INVALID_REQUEST, f"Unknown resource type {wanted.type}")


def _check_topic(image: Image, name: str) -> None:
    if not name:
        raise Refusal(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
    problem = problem_with(name)
    if problem is not None:
        raise Refusal(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
    if name not in image.topics:
        raise Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")


def _node_id(name: str) -> int:
    number = node_id(name)
    if number is None:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {name}")
    return number


def _no_logger(config: BrokerConfig, wanted: Wanted) -> Refusal:
    """Log levels of a running broker do not change: to Kafka's tools it has no loggers."""
    if _node_id(wanted.name) != config.node_id:
        return Refusal(
            ErrorCode.INVALID_REQUEST,
            f"Unexpected node id. Expected {config.node_id}, but received {wanted.name}",
        )
    for change in wanted.changes:
        if change.operation in (Operation.APPEND, Operation.SUBTRACT):
            operation = Operation(change.operation).name
            return Refusal(
                ErrorCode.INVALID_REQUEST,
                f"{operation} operation is not allowed for the BROKER_LOGGER resource",
            )
    name = wanted.changes[0].name if wanted.changes else ""
    return Refusal(ErrorCode.INVALID_CONFIG, f"Logger {name} does not exist!")


def _changed(config: BrokerConfig, type: int, current: str | None, change: Change) -> str | None:
    """The value after `change`; None when there is none."""
    match change.operation:
        case Operation.SET:
            return change.value
        case Operation.DELETE:
            return None
        case Operation.APPEND | Operation.SUBTRACT:
            assert change.value is not None
            kind, inherited = _declared(config, type, change.name)
            if kind is None or kind.type != "list":
                raise _not_a_list(type, change)
            items = _items(inherited if current is None else current)
            given = _items(change.value)
            if change.operation == Operation.APPEND:
                return _writable(",".join(dict.fromkeys((*items, *given))))
            return ",".join(item for item in items if item not in given)
        case _:
            raise Refusal(ErrorCode.INVALID_REQUEST, f"Unknown operation type {change.operation}")


def _writable(value: str) -> str:
    """A list that grew, if its record can carry it: else it would stop the broker."""
    if len(value.encode()) > STRING_LENGTH_MAX:
        raise Refusal(
            ErrorCode.INVALID_CONFIG,
            "The configuration value cannot be added because it exceeds the maximum value size of"
            f" {STRING_LENGTH_MAX} bytes.",
        )
    return value


def _not_a_list(type: int, change: Change) -> Refusal:
    operation = Operation(change.operation).name
    if type == ResourceType.BROKER:
        message = f"Config value {operation.lower()} is not allowed for config key: {change.name}"
    else:
        message = f"Can't {operation} to key {change.name} because its type is not LIST."
    return Refusal(ErrorCode.INVALID_CONFIG, message)


def _declared(config: BrokerConfig, type: int, name: str) -> tuple[Kind | None, str]:
    """What kind of value `name` takes, and what it is where no client set it: the list that is
    appended to."""
    given = config if config.dynamic is None else config.dynamic.given
    if type == ResourceType.TOPIC and name in topic_configs.TOPIC_CONFIGS:
        return topic_configs.TOPIC_CONFIGS[name].kind, topic_configs.default_text(given, name)
    if type == ResourceType.BROKER and name in SETTINGS:
        setting = SETTINGS[name]
        return setting.kind, text_of(getattr(given, setting.attribute)) or ""
    return None, ""


def _items(text: str) -> Iterable[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _check_together(config: BrokerConfig, type: int, configs: Mapping[str, str]) -> None:
    try:
        if type == ResourceType.TOPIC:
            topic_configs.check(config, configs)
        elif type == ResourceType.GROUP:
            group_configs.check(config, configs)
        else:
            broker_configs.check(configs)
    except (topic_configs.InvalidConfig, group_configs.InvalidGroupConfig) as error:
        raise Refusal(ErrorCode.INVALID_CONFIG, str(error)) from None
    except broker_configs.RefusedSetting as error:
        raise Refusal(ErrorCode.INVALID_REQUEST, str(error)) from None
