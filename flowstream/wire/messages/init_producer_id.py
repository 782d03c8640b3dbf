"""InitProducerId (22): get a producer id and epoch; with a transactional id also fence the
predecessor.

2 is flexible; 3 lets a producer ask for a new epoch of its own id (KIP-360); 4 may answer
PRODUCER_FENCED; 5 TRANSACTION_ABORTABLE (KIP-890).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, field, message


@message(versions="0-5", flexible="2+")
class InitProducerIdRequest:
    """Who asks; transactional id null for a merely idempotent producer."""

    transactional_id: str | None = field(STRING, "0+", nullable="0+")
    transaction_timeout_ms: int = field(INT32, "0+")
    producer_id: int = field(INT64, "3+", default=-1)
    producer_epoch: int = field(INT16, "3+", default=-1)


@message(versions="0-5", flexible="2+")
class InitProducerIdResponse:
    """The producer id and epoch."""

    throttle_time_ms: int = field(INT32, "0+", ignorable=True)
    error_code: int = field(INT16, "0+")
    producer_id: int = field(INT64, "0+", default=-1)
    producer_epoch: int = field(INT16, "0+")
