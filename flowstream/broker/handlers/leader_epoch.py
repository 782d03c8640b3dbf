"""The check that requests with a leader epoch share: does the client know the present leader
(KIP-320)?
"""

from __future__ import annotations

from flowstream.broker.log.partition import PartitionLog
from flowstream.wire.error_codes import ErrorCode


def epoch_error(log: PartitionLog, known: int) -> ErrorCode | None:
    """What is wrong with the leader epoch `known` to a client; -1 is not checked."""
    if known < 0 or known == log.leader_epoch:
        return None
    if known < log.leader_epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    return ErrorCode.UNKNOWN_LEADER_EPOCH
