"""A number in a name may have thousands of digits, which Python refuses to read: the answer is an
error, and the broker goes on (X4).
"""

from __future__ import annotations

import pytest

from flowstream.broker.metadata.image import ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_configs import (
    AlterConfigsRequest,
)
from flowstream.wire.messages.alter_configs import (
    AlterConfigsResource as Replaced,
)
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from flowstream.wire.messages.incremental_alter_configs import (
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.machine import Machine

BROKER_LOGGER = 8


@pytest.mark.parametrize("name", ["9" * 5_000, "-" + "9" * 5_000, "2147483648"])
@pytest.mark.parametrize("kind", [ResourceType.BROKER, BROKER_LOGGER])
def test_X4_a_broker_of_thousands_of_digits_is_none(kind: int, name: str) -> None:
    machine = Machine()
    asked = DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=None)
    told = machine.ask(DescribeConfigsRequest(resources=(asked,)), 4)
    assert told.results[0].error_code == ErrorCode.INVALID_REQUEST
    wanted = AlterConfigsResource(resource_type=kind, resource_name=name, configs=())
    told = machine.ask(IncrementalAlterConfigsRequest(resources=(wanted,)), 1)
    assert told.responses[0].error_code == ErrorCode.INVALID_REQUEST
    replaced = Replaced(resource_type=kind, resource_name=name, configs=())
    told = machine.ask(AlterConfigsRequest(resources=(replaced,)), 2)
    assert told.responses[0].error_code == ErrorCode.INVALID_REQUEST
