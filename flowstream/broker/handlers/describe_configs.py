"""DescribeConfigs (32): the configuration of topics, brokers and groups, and where each value comes
from.

1 adds sources and synonyms (KIP-226); 3 types and documentation (KIP-569). The empty broker name
asks for what is set for all brokers. This broker has no loggers to configure and takes no client
metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flowstream.broker.config import SETTINGS, BrokerConfig, text_of
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.broker_configs import DYNAMIC
from flowstream.broker.metadata.group_configs import GROUP_CONFIGS, group_synonyms
from flowstream.broker.metadata.group_configs import effective as effective_group
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.metadata.names import problem_with
from flowstream.broker.metadata.synonyms import Source, Synonym, source_of, synonyms
from flowstream.broker.metadata.topic_configs import TOPIC_CONFIGS, default_text
from flowstream.broker.setting_kinds import SECRET, Kind
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)


class _Value(NamedTuple):
    """One configuration before the request's wishes are known."""

    name: str
    value: str | None
    kind: Kind
    doc: str
    synonyms: tuple[Synonym, ...]
    read_only: bool = False


class _Refused(Exception):
    def __init__(self, error: ErrorCode, message: str = "") -> None:
        super().__init__(message)
        self.error = error
        self.message = message


def handle(request: Request[DescribeConfigsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    body = request.body
    # Repetitions would only multiply the answer (X3), whichever keys they name.
    once = {(each.resource_type, each.resource_name): each for each in reversed(body.resources)}
    results = tuple(_describe(each, body, cores) for each in reversed(once.values()))
    return [Reply(request.to, DescribeConfigsResponse(results=results))]


def _describe(
    asked: DescribeConfigsResource, body: DescribeConfigsRequest, cores: Cores
) -> DescribeConfigsResult:
    error, message, configs = ErrorCode.NONE, "", ()  # type: ErrorCode, str, tuple[_Value, ...]
    try:
        configs = tuple(_values(asked.resource_type, asked.resource_name, cores))
    except _Refused as refused:
        error, message = refused.error, refused.message
    keys = asked.configuration_keys or None  # none named: librdkafka means all
    return DescribeConfigsResult(
        error_code=error,
        error_message=message,
        resource_type=asked.resource_type,
        resource_name=asked.resource_name,
        configs=tuple(_told(each, body) for each in configs if keys is None or each.name in keys),
    )


def _told(found: _Value, body: DescribeConfigsRequest) -> DescribeConfigsResourceResult:
    return DescribeConfigsResourceResult(
        name=found.name,
        value=found.value,
        is_sensitive=found.kind is SECRET,
        read_only=found.read_only,
        config_source=source_of(found.synonyms),
        synonyms=tuple(
            DescribeConfigsSynonym(name=each.name, value=each.value, source=each.source)
            for each in (found.synonyms if body.include_synonyms else ())
        ),
        config_type=found.kind.type_id,
        documentation=found.doc if body.include_documentation else None,
    )


def _values(kind: int, name: str, cores: Cores) -> Iterable[_Value]:
    match kind:
        case ResourceType.TOPIC:
            problem = problem_with(name)
            if problem is not None:
                message = f"Topic name is invalid: {problem}"
                raise _Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, message)
            if name not in cores.image.topics:
                raise _Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            return _of_topic(cores.config, cores.image.topic_configs(name))
        case ResourceType.BROKER:
            if name == "":
                return _of_all_brokers(cores.config)
            _check_id(name, cores.address.node_id, "expected {} or empty string, but")
            return _of_broker(cores.config)
        case ResourceType.BROKER_LOGGER:
            if name == "":
                raise _Refused(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
            _check_id(name, cores.address.node_id, "expected {} but")
            return ()
        case ResourceType.GROUP:
            if name == "":
                raise _Refused(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
            return _of_group(cores.config, cores.image.configs.get((kind, name), {}))
        case _:
            raise _Refused(ErrorCode.INVALID_REQUEST, f"Unsupported resource type: {kind}")


def _check_id(name: str, node_id: int, expected: str) -> None:
    if not name.removeprefix("-").isdecimal():
        message = f"Broker id must be an integer, but it is: {name}"
        raise _Refused(ErrorCode.INVALID_REQUEST, message)
    if int(name) != node_id:
        message = f"Unexpected broker id, {expected.format(node_id)} received {name}"
        raise _Refused(ErrorCode.INVALID_REQUEST, message)


def _of_topic(config: BrokerConfig, overrides: Mapping[str, str]) -> Iterable[_Value]:
    for name, declared in TOPIC_CONFIGS.items():
        value = default_text(config, name)
        found = synonyms(config, declared.server_names)
        if name in overrides:
            value = text_of(declared.kind.parse(overrides[name])) or ""
            found = (Synonym(name, value, Source.TOPIC), *found)
        yield _Value(name, value, declared.kind, declared.doc, found)


def _of_broker(config: BrokerConfig) -> Iterable[_Value]:
    for name, setting in SETTINGS.items():
        value = text_of(getattr(config, setting.attribute))
        found = synonyms(config, (name, *_COARSER.get(name, ())))
        yield _Value(name, value, setting.kind, setting.doc, found, name not in DYNAMIC)


def _of_all_brokers(config: BrokerConfig) -> Iterable[_Value]:
    for name in () if config.dynamic is None else config.dynamic.cluster:
        setting = SETTINGS[name]
        found = tuple(
            each
            for each in synonyms(config, (name,))
            if each.source == Source.DYNAMIC_DEFAULT_BROKER
        )
        yield _Value(name, found[0].value, setting.kind, setting.doc, found)


def _of_group(config: BrokerConfig, overrides: Mapping[str, str]) -> Iterable[_Value]:
    values = effective_group(config, overrides)
    for name, declared in GROUP_CONFIGS.items():
        found = group_synonyms(config, name, overrides)
        yield _Value(name, str(values[name]), declared.kind, declared.doc, found)


_COARSER: Mapping[str, tuple[str, ...]] = {
    names[0]: names[1:] for each in TOPIC_CONFIGS.values() if len(names := each.server_names) > 1
} | {"log.retention.minutes": ("log.retention.hours",)}
"""Settings in hours or minutes that stand in for one in milliseconds."""
