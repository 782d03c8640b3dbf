"""How a refusal is told to clients of older versions."""

from __future__ import annotations

from flowstream.wire.error_codes import ErrorCode


def told(error: ErrorCode, version: int, fenced_since: int) -> ErrorCode:
    """PRODUCER_FENCED was INVALID_PRODUCER_EPOCH before version `fenced_since` (KIP-588)."""
    if error is ErrorCode.PRODUCER_FENCED and version < fenced_since:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return error


def told_in_produce(error: ErrorCode, version: int) -> ErrorCode:
    """A refusal to join or be in a transaction, as Produce and TxnOffsetCommit tell it
    (KIP-890)."""
    if error is ErrorCode.PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if error is ErrorCode.TRANSACTION_ABORTABLE and version < ABORTABLE_SINCE:
        return ErrorCode.INVALID_TXN_STATE
    if error is ErrorCode.CONCURRENT_TRANSACTIONS and version < IMPLICIT_SINCE:
        return ErrorCode.NOT_ENOUGH_REPLICAS
    return error


ABORTABLE_SINCE = 11
"""Produce version from which clients know TRANSACTION_ABORTABLE."""

IMPLICIT_SINCE = 12
"""Produce version that joins partitions implicitly; older clients retry NOT_ENOUGH_REPLICAS instead
of CONCURRENT_TRANSACTIONS."""
