"""ListConfigResources (74): what has a configuration (KIP-1142): topics, this broker, groups that
set something for themselves.

0 is about client metrics subscriptions only (KIP-714), of which there are none; 1 takes types.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)


def handle(
    request: Request[ListConfigResourcesRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer at once."""
    if request.to.version == 0:
        return [Reply(request.to, ListConfigResourcesResponse())]
    asked = dict.fromkeys(request.body.resource_types or tuple(ResourceType))
    if not set(asked) <= set(ResourceType):
        unknown = ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
        return [Reply(request.to, unknown)]
    found = tuple(
        ConfigResource(resource_name=name, resource_type=kind)
        for kind in asked
        for name in _names(cores, kind)
    )
    return [Reply(request.to, ListConfigResourcesResponse(config_resources=found))]


def _names(cores: Cores, kind: int) -> Iterable[str]:
    match kind:
        case ResourceType.TOPIC:
            return cores.image.topics
        case ResourceType.BROKER | ResourceType.BROKER_LOGGER:
            return (str(cores.address.node_id),)
        case _:
            return [name for other, name in cores.image.configs if other == kind]
