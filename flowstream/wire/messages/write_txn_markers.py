"""WriteTxnMarkers (27): the coordinator tells partition leaders how transactions ended.

1 is flexible; 2 carries the transaction version (KIP-1228).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT8,
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
class WritableTxnMarkerTopic:
    """One of the `topics` of `WritableTxnMarker`."""

    name: str = field(STRING, "0+")
    partition_indexes: tuple[int, ...] = field(array(INT32), "0+")


@struct
class WritableTxnMarker:
    """One of the `markers` of `WriteTxnMarkersRequest`."""

    producer_id: int = field(INT64, "0+")
    producer_epoch: int = field(INT16, "0+")
    transaction_result: bool = field(BOOLEAN, "0+")
    topics: tuple[WritableTxnMarkerTopic, ...] = field(array(WritableTxnMarkerTopic), "0+")
    coordinator_epoch: int = field(INT32, "0+")
    transaction_version: int = field(INT8, "2+", ignorable=True)


@message(versions="1-2", flexible="1+")
class WriteTxnMarkersRequest:
    """Markers, by producer."""

    markers: tuple[WritableTxnMarker, ...] = field(array(WritableTxnMarker), "0+")


@struct
class WritableTxnMarkerPartitionResult:
    """One of the `partitions` of `WritableTxnMarkerTopicResult`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")


@struct
class WritableTxnMarkerTopicResult:
    """One of the `topics` of `WritableTxnMarkerResult`."""

    name: str = field(STRING, "0+")
    partitions: tuple[WritableTxnMarkerPartitionResult, ...] = field(
        array(WritableTxnMarkerPartitionResult), "0+"
    )


@struct
class WritableTxnMarkerResult:
    """One of the `markers` of `WriteTxnMarkersResponse`."""

    producer_id: int = field(INT64, "0+")
    topics: tuple[WritableTxnMarkerTopicResult, ...] = field(
        array(WritableTxnMarkerTopicResult), "0+"
    )


@message(versions="1-2", flexible="1+")
class WriteTxnMarkersResponse:
    """The outcome, by producer and partition."""

    markers: tuple[WritableTxnMarkerResult, ...] = field(array(WritableTxnMarkerResult), "0+")
