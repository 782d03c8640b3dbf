"""AddOffsetsToTxn (25): add a group's offsets to a transaction.

3 is flexible; 4 may answer TRANSACTION_ABORTABLE. Protocol v2 does without (KIP-890).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, field, message


@message(versions="0-4", flexible="3+")
class AddOffsetsToTxnRequest:
    """The transaction and the group."""

    transactional_id: str = field(STRING, "0+")
    producer_id: int = field(INT64, "0+")
    producer_epoch: int = field(INT16, "0+")
    group_id: str = field(STRING, "0+")


@message(versions="0-4", flexible="3+")
class AddOffsetsToTxnResponse:
    """The outcome."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
