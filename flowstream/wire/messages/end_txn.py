"""EndTxn (26): commit or abort a transaction.

2 may answer PRODUCER_FENCED; 3 is flexible; 4 may answer TRANSACTION_ABORTABLE; 5 bumps the
epoch and returns it (KIP-890).
"""

from __future__ import annotations

from flowstream.wire.fields import BOOLEAN, INT16, INT32, INT64, STRING, field, message


@message(versions="0-5", flexible="3+")
class EndTxnRequest:
    """The transaction and whether to commit."""

    transactional_id: str = field(STRING, "0+")
    producer_id: int = field(INT64, "0+")
    producer_epoch: int = field(INT16, "0+")
    committed: bool = field(BOOLEAN, "0+")


@message(versions="0-5", flexible="3+")
class EndTxnResponse:
    """The outcome and, from version 5, the id and epoch to go on with."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    producer_id: int = field(INT64, "5+", default=-1, ignorable=True)
    producer_epoch: int = field(INT16, "5+", default=-1, ignorable=True)
