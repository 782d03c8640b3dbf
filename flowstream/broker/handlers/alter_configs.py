"""AlterConfigs (33): replace the whole configuration of resources: what is not named goes back to
its default. Superseded by IncrementalAlterConfigs, whose checks it shares.

2 is flexible.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.altering import alter
from flowstream.broker.metadata.alterations import Change, Operation, Wanted
from flowstream.broker.types import Instant
from flowstream.wire.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)


def handle(request: Request[AlterConfigsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the changes are durable."""
    wanted = [
        Wanted(
            each.resource_type,
            each.resource_name,
            tuple(Change(c.name, Operation.SET, c.value) for c in each.configs),
            replaces=True,
        )
        for each in request.body.resources
    ]
    return alter(request, wanted, AlterConfigsResponse, AlterConfigsResourceResponse, cores, now)
