"""DescribeClientQuotas (48): the quotas that match a filter (KIP-546). 1 is flexible."""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.client_quotas import matching
from flowstream.broker.metadata.plan import Refusal
from flowstream.broker.types import Instant
from flowstream.wire.messages.describe_client_quotas import (
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
    EntityData,
    EntryData,
    ValueData,
)


def handle(
    request: Request[DescribeClientQuotasRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer at once."""
    body = request.body
    try:
        found = matching(cores.image, body.components, strict=body.strict)
    except Refusal as refusal:
        refused = DescribeClientQuotasResponse(
            error_code=refusal.error, error_message=refusal.message, entries=None
        )
        return [Reply(request.to, refused)]
    entries = tuple(
        EntryData(
            entity=tuple(EntityData(entity_type=type, entity_name=name) for type, name in entity),
            values=tuple(ValueData(key=key, value=value) for key, value in limits.items()),
        )
        for entity, limits in found
    )
    return [Reply(request.to, DescribeClientQuotasResponse(entries=entries))]
