"""DescribeLogDirs (35): log directories and the replicas in them.

2 is flexible; 3 has a top-level error; 4 adds disk sizes (KIP-827); 5 says whether a directory
is cordoned (KIP-1066).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    field,
    message,
    struct,
)


@struct
class DescribableLogDirTopic:
    """One of the `topics` of `DescribeLogDirsRequest`."""

    topic: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="1-5", flexible="2+")
class DescribeLogDirsRequest:
    """The partitions asked about; null means all."""

    topics: tuple[DescribableLogDirTopic, ...] | None = field(
        array(DescribableLogDirTopic), "0+", nullable="0+"
    )


@struct
class DescribeLogDirsPartition:
    """One of the `partitions` of `DescribeLogDirsTopic`."""

    partition_index: int = field(INT32, "0+")
    partition_size: int = field(INT64, "0+")
    offset_lag: int = field(INT64, "0+")
    is_future_key: bool = field(BOOLEAN, "0+")


@struct
class DescribeLogDirsTopic:
    """One of the `topics` of `DescribeLogDirsResult`."""

    name: str = field(STRING, "0+")
    partitions: tuple[DescribeLogDirsPartition, ...] = field(array(DescribeLogDirsPartition), "0+")


@struct
class DescribeLogDirsResult:
    """One of the `results` of `DescribeLogDirsResponse`."""

    error_code: int = field(INT16, "0+")
    log_dir: str = field(STRING, "0+")
    topics: tuple[DescribeLogDirsTopic, ...] = field(array(DescribeLogDirsTopic), "0+")
    total_bytes: int = field(INT64, "4+", default=-1, ignorable=True)
    usable_bytes: int = field(INT64, "4+", default=-1, ignorable=True)
    is_cordoned: bool = field(BOOLEAN, "5+", ignorable=True)


@message(versions="1-5", flexible="2+")
class DescribeLogDirsResponse:
    """Directories with sizes and lags."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "3+", ignorable=True)
    results: tuple[DescribeLogDirsResult, ...] = field(array(DescribeLogDirsResult), "0+")
