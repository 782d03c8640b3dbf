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
from flowstream.broker.metadata.names import node_id, problem_with
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
    known = _Known(cores, body)
    results = tuple(_describe(each, known) for each in reversed(once.values()))
    return [Reply(request.to, DescribeConfigsResponse(results=results))]


class _Known:
    """What one request may ask for. Most topics, and groups, are as most others: what one does not
    set is described once.
    """

    def __init__(self, cores: Cores, body: DescribeConfigsRequest) -> None:
        self.cores = cores
        self._body = body
        self._unset: dict[str, tuple[_Value, DescribeConfigsResourceResult]] = {}
        self._group: list[DescribeConfigsResourceResult] = []

    def told(self, kind: int, name: str) -> list[DescribeConfigsResourceResult]:
        """The configurations of a resource. Raises _Refused."""
        if kind == ResourceType.TOPIC:
            return self._of_topic(_overrides(name, self.cores))
        if kind == ResourceType.GROUP and name and (kind, name) not in self.cores.image.configs:
            values = () if self._group else _of_group(self.cores.config, {})
            self._group += (_told(each, self._body) for each in values)
            return self._group
        return [_told(each, self._body) for each in _values(kind, name, self.cores)]

    def _of_topic(self, overrides: Mapping[str, str]) -> list[DescribeConfigsResourceResult]:
        if not self._unset:
            values = _of_all_topics(self.cores.config)
            self._unset = {each.name: (each, _told(each, self._body)) for each in values}
        return [
            _told(_set_by_topic(unset, overrides[name]), self._body) if name in overrides else told
            for name, (unset, told) in self._unset.items()
        ]


def _describe(asked: DescribeConfigsResource, known: _Known) -> DescribeConfigsResult:
    error, message = ErrorCode.NONE, ""
    configs: list[DescribeConfigsResourceResult] = []
    try:
        configs = known.told(asked.resource_type, asked.resource_name)
    except _Refused as refused:
        error, message = refused.error, refused.message
    if asked.configuration_keys:  # none named: librdkafka means all
        keys = frozenset(asked.configuration_keys)
        configs = [each for each in configs if each.name in keys]
    return DescribeConfigsResult(
        error_code=error,
        error_message=message,
        resource_type=asked.resource_type,
        resource_name=asked.resource_name,
        configs=tuple(configs),
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


def _check_id(name: str, own: int, expected: str) -> None:
    number = node_id(name)
    if number is None:
        message = f"Broker id must be an integer, but it is: {name}"
        raise _Refused(ErrorCode.INVALID_REQUEST, message)
    if number != own:
        message = f"Unexpected broker id, {expected.format(own)} received {name}"
        raise _Refused(ErrorCode.INVALID_REQUEST, message)


def _overrides(name: str, cores: Cores) -> Mapping[str, str]:
    """What a topic sets itself."""
    problem = problem_with(name)
    if problem is not None:
        message = f"Topic name is invalid: {problem}"
        raise _Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, message)
    if name not in cores.image.topics:
        raise _Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return cores.image.topic_configs(name)


def _of_all_topics(config: BrokerConfig) -> Iterable[_Value]:
    for name, declared in TOPIC_CONFIGS.items():
        found = synonyms(config, declared.server_names)
        yield _Value(name, default_text(config, name), declared.kind, declared.doc, found)


def _set_by_topic(unset: _Value, text: str) -> _Value:
    value = text_of(unset.kind.parse(text)) or ""
    found = (Synonym(unset.name, value, Source.TOPIC), *unset.synonyms)
    return unset._replace(value=value, synonyms=found)


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
