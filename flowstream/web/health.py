"""Is the worker alive, and is it ready? Pure: a reading in, what to answer out."""

from __future__ import annotations

from dataclasses import dataclass

from flowstream.processing.queries.reading import Reading

CUT_OFF_S = 5.0
"""A broker that is started anew is back sooner."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no, the word for it, and the reasons for a no."""

    is_good: bool
    word: str
    reasons: tuple[str, ...] = ()


def health(reading: Reading) -> Verdict:
    """Whether the worker lives: its loop turns, and no agent holds it or one event for long (V2).

    A loop that does not turn gives no answer at all, which means no.
    """
    if reading.warnings:
        return Verdict(False, "failing", reading.warnings)
    return Verdict(True, "ok")


def readiness(reading: Reading) -> Verdict:
    """Whether the worker has an assignment, all its tasks have caught up and run, and the broker
    answers (V2): without it nothing commits, and no restart of the worker would help.
    """
    if reading.unanswered_s > CUT_OFF_S:
        told = f"the broker has not answered for {reading.unanswered_s:.0f} s"
        return Verdict(False, "cut off", (told,))
    if reading.ready:
        return Verdict(True, "ready")
    if reading.restore_left:
        left = f"tables are restored: {reading.restore_left} changelog records left"
        return Verdict(False, "restoring", (left,))
    return Verdict(False, "joining", ("no assignment yet, or not every task of it runs",))
