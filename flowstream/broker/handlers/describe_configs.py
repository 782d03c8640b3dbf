"""DescribeConfigs (32): the configuration of topics and of this broker, and where each value comes
from.

1 adds sources and synonyms (KIP-226); 3 types and documentation (KIP-569). Loggers, groups and
client metrics have no configuration here and are refused.
"""

from __future__ import annotations

from collections.abc import Collection

from flowstream.broker.config import SETTINGS, BrokerConfig, text_of
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.metadata.topic_configs import (
    TOPIC_CONFIGS,
    Source,
    default_text,
    source,
)
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

Synonyms = tuple[DescribeConfigsSynonym, ...]


def handle(request: Request[DescribeConfigsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    body = request.body
    once = dict.fromkeys(body.resources)  # repetitions would only multiply the answer (X3)
    results = tuple(_describe(each, body, cores) for each in once)
    return [Reply(request.to, DescribeConfigsResponse(results=results))]


def _describe(
    asked: DescribeConfigsResource, body: DescribeConfigsRequest, cores: Cores
) -> DescribeConfigsResult:
    name = asked.resource_name
    keys = asked.configuration_keys or None
    if asked.resource_type == ResourceType.TOPIC:
        if name not in cores.image.topics:
            return _result(asked, (), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return _result(asked, _topic_configs(name, keys, body, cores))
    if asked.resource_type != ResourceType.BROKER:
        message = f"Unsupported resource type: {asked.resource_type}"
        return _result(asked, (), ErrorCode.INVALID_REQUEST, message)
    if name == "":
        return _result(asked, ())  # cluster-wide dynamic defaults: none are kept
    if name != str(cores.address.node_id):
        message = (
            f"Unexpected broker id, expected {cores.address.node_id} or empty string, "
            f"but received {name}"
        )
        return _result(asked, (), ErrorCode.INVALID_REQUEST, message)
    return _result(asked, _broker_configs(keys, body, cores.config))


def _result(
    asked: DescribeConfigsResource,
    configs: tuple[DescribeConfigsResourceResult, ...],
    error: ErrorCode = ErrorCode.NONE,
    message: str = "",
) -> DescribeConfigsResult:
    return DescribeConfigsResult(
        error_code=error,
        error_message=message,
        resource_type=asked.resource_type,
        resource_name=asked.resource_name,
        configs=configs,
    )


def _topic_configs(
    topic: str, keys: Collection[str] | None, body: DescribeConfigsRequest, cores: Cores
) -> tuple[DescribeConfigsResourceResult, ...]:
    config, overrides = cores.config, cores.image.topic_configs(topic)
    results = []
    for name, declared in TOPIC_CONFIGS.items():
        if keys is not None and name not in keys:
            continue
        inherited = default_text(config, name)
        synonyms = _synonyms(config, declared.server_names)
        if name in overrides:
            own = DescribeConfigsSynonym(name=name, value=overrides[name], source=Source.TOPIC)
            synonyms = (own, *synonyms)
        results.append(
            DescribeConfigsResourceResult(
                name=name,
                value=overrides.get(name, inherited),
                config_source=source(config, name, overrides),
                synonyms=synonyms if body.include_synonyms else (),
                config_type=declared.kind.type_id,
                documentation=declared.doc if body.include_documentation else None,
            )
        )
    return tuple(results)


def _broker_configs(
    keys: Collection[str] | None, body: DescribeConfigsRequest, config: BrokerConfig
) -> tuple[DescribeConfigsResourceResult, ...]:
    results = []
    for name, declared in SETTINGS.items():
        if keys is not None and name not in keys:
            continue
        value = text_of(getattr(config, declared.attribute))
        results.append(
            DescribeConfigsResourceResult(
                name=name,
                value=value,
                read_only=True,
                config_source=Source.BROKER if name in config.given else Source.DEFAULT,
                synonyms=_synonyms(config, (name,)) if body.include_synonyms else (),
                config_type=declared.kind.type_id,
                documentation=declared.doc if body.include_documentation else None,
            )
        )
    return tuple(results)


def _synonyms(config: BrokerConfig, names: tuple[str, ...]) -> Synonyms:
    """Those of the broker's settings `names` that were given, and the default of the first."""
    found = []
    for name in names:
        if name in config.given:
            value = text_of(getattr(config, SETTINGS[name].attribute))
            found.append(DescribeConfigsSynonym(name=name, value=value, source=Source.BROKER))
    default = text_of(SETTINGS[names[0]].default) if names else None
    if default is not None:
        found.append(DescribeConfigsSynonym(name=names[0], value=default, source=Source.DEFAULT))
    return tuple(found)
