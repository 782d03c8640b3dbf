"""IncrementalAlterConfigs (44): change single configuration keys (KIP-339), durable and in effect
when answered.

1 is flexible. Topics, this broker, all brokers (the empty name) and consumer groups. Unlike Kafka a
broker setting that does not exist here is refused: nothing would read it. Log levels and client
metrics subscriptions are refused.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.altering import alter
from flowstream.broker.metadata.alterations import Change, Wanted
from flowstream.broker.types import Instant
from flowstream.wire.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)


def handle(
    request: Request[IncrementalAlterConfigsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer when the changes are durable."""
    wanted = [
        Wanted(
            each.resource_type,
            each.resource_name,
            tuple(Change(c.name, c.config_operation, c.value) for c in each.configs),
        )
        for each in request.body.resources
    ]
    return alter(
        request,
        wanted,
        IncrementalAlterConfigsResponse,
        AlterConfigsResourceResponse,
        cores,
        now,
    )
