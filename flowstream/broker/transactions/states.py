"""The states of a transactional id, which may follow which, and what each answers.

                  AddPartitions   EndTxn                       InitProducerId
EMPTY             begins          v2: abort; else refused      bumps the epoch
ONGOING           adds            prepares                     aborts first (fences), then bumps
PREPARE_*         try again       same outcome: try again      try again
COMPLETE_*        begins          repeats: same answer         bumps the epoch
DEAD              the id has expired and is forgotten
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class TransactionState(IntEnum):
    """Kafka's numbers, as they stand in the log."""

    EMPTY = 0
    ONGOING = 1
    PREPARE_COMMIT = 2
    PREPARE_ABORT = 3
    COMPLETE_COMMIT = 4
    COMPLETE_ABORT = 5
    DEAD = 6
    PREPARE_EPOCH_FENCE = 7


EMPTY, ONGOING = TransactionState.EMPTY, TransactionState.ONGOING
PREPARE_COMMIT, PREPARE_ABORT = TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT
COMPLETE_COMMIT, COMPLETE_ABORT = TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT
DEAD = TransactionState.DEAD

IDLE = frozenset({EMPTY, COMPLETE_COMMIT, COMPLETE_ABORT})
"""No transaction is open."""

PREPARED = frozenset({PREPARE_COMMIT, PREPARE_ABORT})
"""Decided: whatever crashes, it will be carried out (T7)."""

SUCCESSORS: Mapping[TransactionState, frozenset[TransactionState]] = {
    EMPTY: frozenset({EMPTY, ONGOING, PREPARE_ABORT, DEAD}),
    ONGOING: frozenset({ONGOING, PREPARE_COMMIT, PREPARE_ABORT}),
    PREPARE_COMMIT: frozenset({COMPLETE_COMMIT}),
    PREPARE_ABORT: frozenset({COMPLETE_ABORT}),
    COMPLETE_COMMIT: frozenset({EMPTY, ONGOING, PREPARE_ABORT, DEAD}),
    COMPLETE_ABORT: frozenset({EMPTY, ONGOING, PREPARE_ABORT, DEAD}),
    DEAD: frozenset(),
}
"""Which states may follow. A fence goes straight to PREPARE_ABORT: deciding and writing are one
step here."""

NAMES: Mapping[TransactionState, str] = {
    state: "".join(word.capitalize() for word in state.name.split("_"))
    for state in TransactionState
}
"""As Kafka's tools print them: `CompleteCommit`."""
