"""Configurations and quotas of a cluster: what is set, where it comes from, and changing it.

Topics and groups are asked of any node, a broker's own settings of that broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import RequestRefused
from flowstream.wire.api import ApiKey
from flowstream.wire.messages import alter_client_quotas as alter_quotas_message
from flowstream.wire.messages import describe_client_quotas as describe_quotas_message
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from flowstream.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from flowstream.wire.messages.list_config_resources import ListConfigResourcesRequest

_SET, _DELETE = 0, 1
_BY_NAME, _BY_DEFAULT = 0, 1
SOURCES = {
    1: "topic",
    2: "broker (dynamic)",
    3: "all brokers (dynamic)",
    4: "broker (static)",
    5: "default",
    6: "broker logger",
    7: "client metrics",
    8: "group",
}
"""Kafka's numbers of where a value comes from."""


class Kind(IntEnum):
    """What can be configured, by Kafka's numbers."""

    TOPIC = 2
    BROKER = 4
    CLIENT_METRICS = 16
    GROUP = 32


class Resource(NamedTuple):
    """One thing that is configured. The broker "" is all brokers."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Config:
    """One setting: a value that is secret or unset is None."""

    name: str
    value: str | None
    source: str
    read_only: bool
    sensitive: bool
    doc: str | None


Entity = Mapping[str, str | None]
"""Whom a quota is for: `user`, `client-id` or `ip` -> name, None for those without their own."""


async def describe_configs(cluster: Cluster, resource: Resource) -> list[Config]:
    """All settings of one resource, by name."""
    request = DescribeConfigsRequest(
        resources=(
            DescribeConfigsResource(
                resource_type=resource.kind, resource_name=resource.name, configuration_keys=None
            ),
        ),
        include_documentation=True,
    )
    answer = await cluster.request(
        _place(resource),
        ApiKey.DESCRIBE_CONFIGS,
        # Documentation is there from 3 on; what an older broker lacks is left out.
        lambda version: (
            request if version >= 3 else DescribeConfigsRequest(resources=request.resources)
        ),
    )
    (result,) = answer.results
    if result.error_code:
        raise RequestRefused(
            f"configs of {_named(resource)}", result.error_code, result.error_message
        )
    found = (
        Config(
            config.name,
            config.value,
            SOURCES.get(config.config_source, "unknown"),
            config.read_only,
            config.is_sensitive,
            config.documentation,
        )
        for config in result.configs
    )
    return sorted(found, key=lambda config: config.name)


async def alter_configs(
    cluster: Cluster,
    resource: Resource,
    changes: Mapping[str, str | None],
    *,
    validate_only: bool = False,
) -> None:
    """Set values; None takes a setting back to what it was without one."""
    configs = tuple(
        AlterableConfig(name=name, config_operation=_DELETE if value is None else _SET, value=value)
        for name, value in changes.items()
    )
    request = IncrementalAlterConfigsRequest(
        resources=(
            AlterConfigsResource(
                resource_type=resource.kind, resource_name=resource.name, configs=configs
            ),
        ),
        validate_only=validate_only,
    )
    answer = await cluster.request(
        _place(resource), ApiKey.INCREMENTAL_ALTER_CONFIGS, lambda _: request
    )
    for result in answer.responses:
        if result.error_code:
            raise RequestRefused(
                f"configs of {_named(resource)}", result.error_code, result.error_message
            )


async def config_resources(cluster: Cluster, kinds: Iterable[Kind]) -> list[Resource]:
    """What has, or could have, settings of its own (KIP-1142)."""
    request = ListConfigResourcesRequest(resource_types=tuple(int(kind) for kind in kinds))
    answer = await cluster.request(
        None, ApiKey.LIST_CONFIG_RESOURCES, lambda _: request, min_version=1
    )
    if answer.error_code:
        raise RequestRefused("listing config resources", answer.error_code)
    known = {int(kind) for kind in Kind}
    return sorted(
        Resource(Kind(found.resource_type), found.resource_name)
        for found in answer.config_resources
        if found.resource_type in known
    )


async def describe_quotas(
    cluster: Cluster, entity: Mapping[str, str | None] | None = None
) -> list[tuple[dict[str, str | None], dict[str, float]]]:
    """Quotas with whom they are for; only those of exactly `entity` when it is given."""
    components = tuple(
        describe_quotas_message.ComponentData(
            entity_type=kind, match_type=_BY_DEFAULT if name is None else _BY_NAME, match=name
        )
        for kind, name in (entity or {}).items()
    )
    request = describe_quotas_message.DescribeClientQuotasRequest(
        components=components, strict=entity is not None
    )
    answer = await cluster.request(None, ApiKey.DESCRIBE_CLIENT_QUOTAS, lambda _: request)
    if answer.error_code:
        raise RequestRefused("describing quotas", answer.error_code, answer.error_message)
    return [
        (
            {part.entity_type: part.entity_name for part in entry.entity},
            {value.key: value.value for value in entry.values},
        )
        for entry in answer.entries or ()
    ]


async def alter_quotas(
    cluster: Cluster, entity: Entity, changes: Mapping[str, float | None]
) -> None:
    """Set quotas of one entity; None removes one."""
    entry = alter_quotas_message.EntryData(
        entity=tuple(
            alter_quotas_message.EntityData(entity_type=kind, entity_name=name)
            for kind, name in entity.items()
        ),
        ops=tuple(
            alter_quotas_message.OpData(
                key=key, value=0.0 if value is None else value, remove=value is None
            )
            for key, value in changes.items()
        ),
    )
    request = alter_quotas_message.AlterClientQuotasRequest(entries=(entry,))
    answer = await cluster.request(None, ApiKey.ALTER_CLIENT_QUOTAS, lambda _: request)
    for result in answer.entries:
        if result.error_code:
            raise RequestRefused("altering quotas", result.error_code, result.error_message)


def _place(resource: Resource) -> int | None:
    return int(resource.name) if resource.kind is Kind.BROKER and resource.name else None


def _named(resource: Resource) -> str:
    kind = resource.kind.name.lower().replace("_", " ")
    return f"{kind} {resource.name!r}" if resource.name else f"all {kind}s"
