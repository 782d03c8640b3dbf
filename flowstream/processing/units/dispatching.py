"""Which record of a partition a lane gets next, where several lanes work on it side by side.

Pure. By key: no two lanes have records of one key, and those of a key come in order. Records
without a key have no order among each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence, Set

from flowstream.processing.events.event import Arrival

NOTHING: Set[bytes] = frozenset()


class Dispatcher:
    """The queue of one partition, and the keys that lanes work on."""

    def __init__(self, *, by_key: bool) -> None:
        self._by_key = by_key
        self._ready: deque[Arrival] = deque()
        # Keys that a lane has, and what waits behind each.
        self._behind: dict[bytes, deque[Arrival]] = {}
        # Records whose turn has come because a lane let their key go; it is kept for them.
        self._turns: deque[Arrival] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        """Records that no lane has."""
        return len(self._ready) + self._waiting

    @property
    def turns(self) -> int:
        """Records that have waited for their key and may begin."""
        return len(self._turns)

    @property
    def first(self) -> Arrival | None:
        """The next record that no lane has."""
        return next(iter(self._turns or self._ready), None)

    def feed(self, records: Sequence[Arrival]) -> None:
        """Records arrived."""
        self._ready.extend(records)

    def next(self, mine: Set[bytes] = NOTHING) -> Arrival | None:
        """A record that a lane may begin now; `mine` are the keys that it has and may get more of.

        The lane has the record's key until it lets it go.
        """
        for own in mine if self._waiting else ():
            if behind := self._behind.get(own):
                self._waiting -= 1
                return behind.popleft()
        if self._turns:
            self._waiting -= 1
            return self._turns.popleft()
        ready = self._ready
        while ready:
            record = ready.popleft()
            key = record.key
            if not self._by_key or key is None or key in mine:
                return record
            if key not in self._behind:
                self._behind[key] = deque()
                return record
            self._behind[key].append(record)
            self._waiting += 1
        return None

    def let_go(self, keys: Iterable[bytes]) -> None:
        """A lane has finished with these keys."""
        if not self._by_key:
            return
        for key in keys:
            behind = self._behind[key]
            if behind:
                self._turns.append(behind.popleft())
            else:
                del self._behind[key]
