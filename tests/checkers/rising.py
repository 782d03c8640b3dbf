"""Checker 5: a committed offset, set and asked for by many at once. It only rises (G6).

An operation that began after another one had ended may not know less than that one: neither an
answer to a fetch, nor a commit that the broker accepted, which would come from a member that
began behind what was committed (G2) or owned the partition no more (G1, G4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .history import Anomaly, GroupPartition


class Answer(NamedTuple):
    """An acknowledged commit of an offset, or the answer to a fetch (None: there is none), between
    two instants.
    """

    target: GroupPartition
    who: str
    offset: int | None
    began: float
    ended: float
    commit: bool = False


def check(answers: Iterable[Answer]) -> list[Anomaly]:
    """Every anomaly, over all groups and partitions."""
    by_target: dict[GroupPartition, list[Answer]] = {}
    for answer in answers:
        by_target.setdefault(answer.target, []).append(answer)
    return [anomaly for each in by_target.values() for anomaly in went_back(each)]


def went_back(answers: list[Answer]) -> Iterator[Anomaly]:
    """What knew less than something that had ended before."""
    ended = iter(sorted(answers, key=lambda answer: answer.ended))
    next_ended = next(ended)
    highest: Answer | None = None
    for answer in sorted(answers, key=lambda answer: answer.began):
        while next_ended.ended < answer.began:
            if highest is None or known(next_ended) > known(highest):
                highest = next_ended
            # There is always one left: this very answer ends after its own beginning.
            next_ended = next(ended)
        if highest is not None and known(answer) < known(highest):
            what = "commit went back" if answer.commit else "offset went back"
            yield Anomaly(what, "G6", f"{highest}, then {answer}")


def known(answer: Answer) -> int:
    """The offset, with something below all for none."""
    return -1 if answer.offset is None else answer.offset
