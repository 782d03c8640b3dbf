"""DeleteRecords (21): move the log start of partitions forward.

2 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, array, field, message, struct


@struct
class DeleteRecordsPartition:
    """One of the `partitions` of `DeleteRecordsTopic`."""

    partition_index: int = field(INT32, "0+")
    offset: int = field(INT64, "0+")


@struct
class DeleteRecordsTopic:
    """One of the `topics` of `DeleteRecordsRequest`."""

    name: str = field(STRING, "0+")
    partitions: tuple[DeleteRecordsPartition, ...] = field(array(DeleteRecordsPartition), "0+")


@message(versions="0-2", flexible="2+")
class DeleteRecordsRequest:
    """The new first offset of each partition; -1 is the high watermark."""

    topics: tuple[DeleteRecordsTopic, ...] = field(array(DeleteRecordsTopic), "0+")
    timeout_ms: int = field(INT32, "0+")


@struct
class DeleteRecordsPartitionResult:
    """One of the `partitions` of `DeleteRecordsTopicResult`."""

    partition_index: int = field(INT32, "0+")
    low_watermark: int = field(INT64, "0+")
    error_code: int = field(INT16, "0+")


@struct
class DeleteRecordsTopicResult:
    """One of the `topics` of `DeleteRecordsResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[DeleteRecordsPartitionResult, ...] = field(
        array(DeleteRecordsPartitionResult), "0+"
    )


@message(versions="0-2", flexible="2+")
class DeleteRecordsResponse:
    """The new log start of each."""

    throttle_time_ms: int = field(INT32, "0+")
    topics: tuple[DeleteRecordsTopicResult, ...] = field(array(DeleteRecordsTopicResult), "0+")
