"""AlterClientQuotas (49): how fast users, clients and addresses may go (KIP-546), durable and in
force when answered.

1 is flexible. All of Kafka's quotas are enforced.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.client_quotas import alter_quotas
from flowstream.broker.types import Instant
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
)


def handle(request: Request[AlterClientQuotasRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the quotas are durable."""
    body = request.body
    plan = alter_quotas(cores.image, body.entries, validate_only=body.validate_only)
    reply = (request.to, AlterClientQuotasResponse(entries=plan.results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
