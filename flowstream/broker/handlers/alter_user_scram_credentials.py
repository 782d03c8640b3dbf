"""AlterUserScramCredentials (51): set and delete users' credentials (KIP-554).

The client salts the password; neither it nor the broker keeps it.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.users import alter
from flowstream.broker.types import Instant
from flowstream.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
)


def handle(
    request: Request[AlterUserScramCredentialsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer when the credentials are durable."""
    plan = alter(cores.image, request.body)
    reply = (request.to, AlterUserScramCredentialsResponse(results=plan.results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
