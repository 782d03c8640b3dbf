"""The order in which an epoch commits, as data. Crash tests stop the worker between any two steps.

Pure. The committer runs the steps in this order and calls its checkpoint before each and after
the last. Nothing here knows how a step is done.
"""

from __future__ import annotations

from enum import Enum


class Step(Enum):
    """One step of a commit; the value is the checkpoint's name."""

    CLOSE = "close"
    """The open epoch becomes the committing one; the next epoch fills from here on."""
    BEGIN = "begin"
    """The transaction opens: at flush, never while user code runs."""
    PRODUCE = "produce"
    """Outputs and changelog are sent and every batch is acknowledged, else abort."""
    OFFSETS = "offsets"
    """Consumed offsets join the transaction with member id and generation (KIP-447)."""
    END = "end"
    """EndTxn; from its durable decision on, the epoch is committed."""
    STORE = "store"
    """One write batch per table partition: rows, changelog offset and source offset (S1)."""
    DONE = "done"
    """Nothing of the epoch is left to do."""


EXACTLY_ONCE = "exactly_once"
AT_LEAST_ONCE = "at_least_once"

ORDER: dict[str, tuple[Step, ...]] = {
    EXACTLY_ONCE: (
        Step.CLOSE,
        Step.BEGIN,
        Step.PRODUCE,
        Step.OFFSETS,
        Step.END,
        Step.STORE,
        Step.DONE,
    ),
    # Without a transaction the effects come first: a crash before OFFSETS repeats them.
    AT_LEAST_ONCE: (Step.CLOSE, Step.PRODUCE, Step.OFFSETS, Step.STORE, Step.DONE),
}
