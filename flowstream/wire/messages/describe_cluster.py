"""DescribeCluster (60): brokers and controller of the cluster (KIP-700).

1 can ask for controllers instead (KIP-919); 2 can include fenced brokers (KIP-1073).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT8,
    INT16,
    INT32,
    STRING,
    array,
    field,
    message,
    struct,
)


@message(versions="0-2", flexible="0+")
class DescribeClusterRequest:
    """What to include."""

    include_cluster_authorized_operations: bool = field(BOOLEAN, "0+")
    endpoint_type: int = field(INT8, "1+", default=1)
    include_fenced_brokers: bool = field(BOOLEAN, "2+")


@struct
class DescribeClusterBroker:
    """One of the `brokers` of `DescribeClusterResponse`."""

    broker_id: int = field(INT32, "0+")
    host: str = field(STRING, "0+")
    port: int = field(INT32, "0+")
    rack: str | None = field(STRING, "0+", nullable="0+", default=None)
    is_fenced: bool = field(BOOLEAN, "2+")


@message(versions="0-2", flexible="0+")
class DescribeClusterResponse:
    """The brokers."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+", default=None)
    endpoint_type: int = field(INT8, "1+", default=1)
    cluster_id: str = field(STRING, "0+")
    controller_id: int = field(INT32, "0+", default=-1)
    brokers: tuple[DescribeClusterBroker, ...] = field(array(DescribeClusterBroker), "0+")
    cluster_authorized_operations: int = field(INT32, "0+", default=-2147483648)
