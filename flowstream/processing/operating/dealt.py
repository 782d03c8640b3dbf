"""How far the dead letters of a partition are dealt with: all below a position, and some beyond it.

Pure. Those beyond are told in the note that a group keeps beside its position (Kafka's metadata of
a committed offset), so that both change in one commit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import groupby

LONGEST_NOTE = 4096
"""As many characters as Kafka takes (`offset.metadata.max.bytes`)."""
_PREFIX = "dealt with: "
_NOTE = re.compile(r"(\d{1,19}-\d{1,19}(,|$))+")


@dataclass(frozen=True, slots=True)
class Dealt:
    """What is dealt with in one partition.

    >>> some = Dealt(5).after([5, 7, 9, 11], {7, 9})
    >>> some, 5 in some, 8 in some, some.note
    (Dealt(position=5, beyond=((7, 9),)), False, True, 'dealt with: 7-9')
    >>> some.after([5, 7, 9, 11], {5})
    Dealt(position=11, beyond=())
    """

    position: int
    beyond: tuple[tuple[int, int], ...] = ()
    """The first and the last offset of each run of letters: none of them waits."""

    def __contains__(self, offset: object) -> bool:
        assert isinstance(offset, int)
        return offset < self.position or any(first <= offset <= last for first, last in self.beyond)

    @property
    def note(self) -> str:
        """What is said of those beyond the position."""
        told = ",".join(f"{first}-{last}" for first, last in self.beyond)
        return told and _PREFIX + told

    def after(self, letters: Sequence[int], done: Set[int]) -> Dealt:
        """After these were dealt with, too. `letters` are the offsets of all that lie from the
        position on, in order, as far as somebody has looked.
        """
        runs = [
            (is_over, list(run))
            for is_over, run in groupby(letters, lambda offset: offset in done or offset in self)
        ]
        seen = letters[-1] + 1 if letters else self.position
        position = next((run[0] for is_over, run in runs if not is_over), seen)
        inside = [(run[0], run[-1]) for is_over, run in runs if is_over and run[0] > position]
        unseen = [(max(first, seen), last) for first, last in self.beyond if last >= seen]
        return Dealt(max(position, self.position), (*inside, *unseen))


def dealt_of(position: int, note: str) -> Dealt:
    """What a group's position and its note say. ValueError for a note that begins as one of ours
    and says nothing; one of somebody else's is none.

    >>> dealt_of(3, "dealt with: 5-5,8-12"), dealt_of(3, "")
    (Dealt(position=3, beyond=((5, 5), (8, 12))), Dealt(position=3, beyond=()))
    """
    if not note.startswith(_PREFIX):
        return Dealt(position)
    told = note.removeprefix(_PREFIX)
    if not _NOTE.fullmatch(told):
        raise ValueError(f"{note[:80]!r} says nothing of what is dealt with")
    runs = (run.partition("-") for run in told.split(",") if run)
    return Dealt(position, tuple((int(first), int(last)) for first, _, last in runs))
