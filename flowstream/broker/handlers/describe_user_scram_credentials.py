"""DescribeUserScramCredentials (50): the mechanisms of users, never their secrets (KIP-554)."""

from __future__ import annotations

from flowstream.broker.coordination import replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.users import describe
from flowstream.broker.types import Instant
from flowstream.wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
)


def handle(
    request: Request[DescribeUserScramCredentialsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer with what is durable."""
    results = describe(cores.image, request.body.users)
    answer = DescribeUserScramCredentialsResponse(error_message=None, results=results)
    return replies_when_durable([(request.to, answer)])
