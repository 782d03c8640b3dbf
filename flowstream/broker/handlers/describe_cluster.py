"""DescribeCluster (60): the brokers of the cluster.

1 may ask for controllers instead, which only a controller's own listener answers (KIP-919); 2 tells
fenced brokers too (KIP-1073): the one that answers is not.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)

BROKERS, CONTROLLERS = 1, 2

NOT_ASKED = -(1 << 31)
"""Authorized operations that were not asked for."""

CLUSTER_OPERATIONS = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))
"""Create, alter, describe, cluster action, describe and alter configs, idempotent write: Kafka's
answer to everyone when nothing is restricted."""


def handle(request: Request[DescribeClusterRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    body, here = request.body, cores.address
    seen = here.seen_by(request.session)
    if body.endpoint_type != BROKERS:
        mismatched = body.endpoint_type == CONTROLLERS
        refusal = DescribeClusterResponse(
            error_code=(
                ErrorCode.MISMATCHED_ENDPOINT_TYPE
                if mismatched
                else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
            ),
            error_message=(
                "The request was sent to an endpoint of the wrong type."
                if mismatched
                else "Unsupported endpoint type."
            ),
        )
        return [Reply(request.to, refusal)]
    wanted = body.include_cluster_authorized_operations
    response = DescribeClusterResponse(
        cluster_id=here.cluster_id,
        controller_id=here.node_id,
        brokers=(
            DescribeClusterBroker(
                broker_id=here.node_id, host=seen.host, port=seen.port, rack=here.rack
            ),
        ),
        cluster_authorized_operations=CLUSTER_OPERATIONS if wanted else NOT_ASKED,
    )
    return [Reply(request.to, response)]
