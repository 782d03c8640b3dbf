"""Which completed units may commit where a source's units complete out of the order of its offsets.

Pure. Only the contiguous completed prefix of a source commits. A unit behind it waits, and with it
whatever has read or overwritten its rows: it completed later, so it may have seen them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set

from flowstream.processing.units.epoch import OUTPUT_BYTES
from flowstream.processing.units.task import Task, TaskId
from flowstream.processing.units.unit import Row, Unit

SETTLED_BYTES = OUTPUT_BYTES // 8
"""Until so much is in the open epoch, it cannot say that it is time to close."""


class PrefixTask(Task):
    """A task one of whose agents works on several events of a partition side by side.

    Its units merge in batches (`settled`), not one by one. Invariant: a source's position is the
    end of its contiguous completed prefix at the last batch.
    """

    __slots__ = ("_fed", "_left", "_left_bytes")

    def __init__(self, id: TaskId) -> None:
        super().__init__(id)
        self._fed: dict[int, deque[int]] = {}
        """Of each source with such an agent: the offsets that have not merged, in order."""
        self._left = self._left_bytes = 0

    def spread(self, source: int) -> None:
        """The units of this source may complete in any order."""
        self._fed[source] = deque()

    def fed(self, source: int, offsets: Sequence[int]) -> None:
        """Records arrived."""
        self._fed[source].extend(offsets)

    def mergeable(self) -> Iterator[Unit]:
        """Nothing merges by itself: see `settled`."""
        return iter(())

    @property
    def is_worth_settling(self) -> bool:
        """Whether enough completed since the last time, so each unit is looked at a few times; or
        anything, where nobody else may go on.
        """
        count, size = len(self.pending), self.pending_bytes
        grew = count > 2 * self._left + 200 or size > 2 * self._left_bytes + SETTLED_BYTES
        return grew or (count > self._left and self.is_clogged)

    def settled(self) -> list[Unit]:
        """Take the units that may join the open epoch now, in the order of completion."""
        units = list(self.pending)
        places = {source: self._places(source, units) for source in self._fed}
        kept: frozenset[int] = frozenset()
        while True:
            ends = {source: self._end(source, places[source], kept) for source in self._fed}
            found = self._kept(units, ends, kept)
            if found == kept:
                break
            kept = found
        self.pending = deque(unit for place, unit in enumerate(units) if place in kept)
        self.pending_bytes = sum(unit.size for unit in self.pending)
        self._left, self._left_bytes = len(self.pending), self.pending_bytes
        merged = [unit for place, unit in enumerate(units) if place not in kept]
        for unit in merged:
            if not unit.offsets:
                self.sources[unit.source].pass_to(unit.next_offset)
        for index, end in ends.items():
            self._pass(index, end)
        return merged

    def _places(self, source: int, units: Sequence[Unit]) -> dict[int, int]:
        """The place of the unit that covers an offset."""
        return {
            offset: place
            for place, unit in enumerate(units)
            if unit.source == source
            for offset in unit.offsets
        }

    def _end(self, source: int, places: Mapping[int, int], kept: Set[int]) -> int:
        """The end of the offsets whose units are complete and not kept back."""
        end = self.sources[source].position
        for offset in self._fed[source]:
            place = places.get(offset)
            if place is None or place in kept:
                break
            end = offset + 1
        return end

    def _kept(
        self, units: Sequence[Unit], ends: Mapping[int, int], before: Set[int]
    ) -> frozenset[int]:
        """The units that have to wait, by their places; never fewer than `before`."""
        kept: set[int] = set()
        rows: set[Row] = set()
        for place, unit in enumerate(units):
            if place in before or not self._is_inside(unit, ends):
                waits = True
            elif unit.touched is None:
                waits = bool(kept)
            else:
                waits = not rows.isdisjoint(unit.touched)
            if waits:
                kept.add(place)
                rows.update((part.partition.name, row) for part in unit.tables for row in part.rows)
        # What several agents made of the same offsets merges as a whole.
        steps = self.first_steps(units[place] for place in kept)
        kept.update(place for place, unit in enumerate(units) if self.is_beyond(unit, steps))
        return frozenset(kept)

    def _is_inside(self, unit: Unit, ends: Mapping[int, int]) -> bool:
        if unit.offsets:
            return unit.offsets[-1] < ends[unit.source]
        return self._may_merge(unit)

    def _pass(self, index: int, end: int) -> None:
        fed, source = self._fed[index], self.sources[index]
        assert end >= source.position, f"{source.topic} goes back from {source.position} to {end}"
        while fed and fed[0] < end:
            fed.popleft()
        source.position = end
