"""Changing and describing configurations through a whole node."""

from __future__ import annotations

from typing import Any

from flowstream.wire.messages import alter_configs, incremental_alter_configs
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from tests.broker.machine import Machine

TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)

Op = tuple[str, int, str | None]


def cluster(**settings: str) -> Machine:
    made = Machine(**settings)
    topic = CreatableTopic(name="t", num_partitions=2, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    return made


def resource(kind: int, name: str, *ops: Op) -> incremental_alter_configs.AlterConfigsResource:
    return incremental_alter_configs.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=tuple(
            incremental_alter_configs.AlterableConfig(name=key, config_operation=op, value=value)
            for key, op, value in ops
        ),
    )


def alter(made: Machine, kind: int, name: str, *ops: Op, validate: bool = False) -> Any:
    """(error, message) of an incremental change."""
    request = incremental_alter_configs.IncrementalAlterConfigsRequest(
        resources=(resource(kind, name, *ops),), validate_only=validate
    )
    (response,) = made.ask(request, 1).responses
    assert (response.resource_type, response.resource_name) == (kind, name)
    return response.error_code, response.error_message


def replace(made: Machine, kind: int, name: str, version: int = 2, **configs: str | None) -> Any:
    """(error, message) of a change of the whole configuration."""
    asked = alter_configs.AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=tuple(
            alter_configs.AlterableConfig(name=key.replace("_", "."), value=value)
            for key, value in configs.items()
        ),
    )
    request = alter_configs.AlterConfigsRequest(resources=(asked,))
    (response,) = made.ask(request, version).responses
    return response.error_code, response.error_message


def described(made: Machine, kind: int, name: str, *keys: str) -> dict[str, Any]:
    """By key: value, source, whether it can be changed, and the synonyms."""
    asked = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=keys or None
    )
    request = DescribeConfigsRequest(resources=(asked,), include_synonyms=True)
    (result,) = made.ask(request, 4).results
    assert result.error_code == 0
    return {
        each.name: (
            each.value,
            each.config_source,
            not each.read_only,
            [(s.name, s.value, s.source) for s in each.synonyms],
        )
        for each in result.configs
    }


OK = (0, None)
