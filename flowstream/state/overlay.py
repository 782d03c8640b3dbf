"""The layers between a table partition's committed rows and the unit that reads it now.

Pure. Rows pass from `pending` (units whose offsets are not complete yet) to `open` (the epoch
that fills) to `committing` (the epoch in its transaction) and then leave for the store. Nothing
here knows what a row's value means: it is what the table partition put in.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Final


class Absent(Enum):
    """Answers that are not values."""

    MISSING = "missing"
    """No layer knows the key: ask the store."""
    DELETED = "deleted"
    """The key is known to have no value."""


MISSING: Final = Absent.MISSING
DELETED: Final = Absent.DELETED


FEW = 64
"""So many keys are put in their places one by one; more are sorted in."""


class Ordered:
    """The keys of a layer in order, brought up to date by whoever walks over some of them.

    A layer only gains keys, which are last in its own order, and is one dict for as long as it is
    the same layer. So a short walk costs no more in a large epoch than in a small one.
    """

    __slots__ = ("_keys", "_layer")

    def __init__(self) -> None:
        self._layer: dict[bytes, object] = {}
        self._keys: list[bytes] = []

    def between(
        self, layer: dict[bytes, object], start: bytes, stop: bytes | None
    ) -> Iterator[bytes]:
        """The layer's keys from start to before stop."""
        if layer is not self._layer:
            self._layer, self._keys = layer, []
        keys = self._keys
        new = len(layer) - len(keys)
        came = islice(reversed(layer), new)
        if new > FEW:
            keys += came
            keys.sort()
        else:
            for key in came:
                insort(keys, key)
        assert len(keys) == len(layer), "a layer has lost a key"
        first = bisect_left(keys, start)
        return islice(keys, first, None if stop is None else max(first, bisect_left(keys, stop)))


class Overlay:
    """Uncommitted rows of one table partition, newest layer first."""

    __slots__ = ("_closed", "_deferred", "_opened", "committing", "open", "pending")

    def __init__(self) -> None:
        self.pending: dict[bytes, object] = {}
        # Whose each pending row is: equal rows of two units may be one object.
        self._deferred: dict[bytes, Mapping[bytes, object]] = {}
        self.open: dict[bytes, object] = {}
        self.committing: dict[bytes, object] = {}
        self._opened, self._closed = Ordered(), Ordered()

    def find(self, key: bytes) -> object:
        """The newest uncommitted row, DELETED, or MISSING when only the store can tell."""
        for layer in (self.pending, self.open, self.committing):
            row = layer.get(key, MISSING)
            if row is not MISSING:
                return row
        return MISSING

    def may_commit(self, key: bytes) -> object:
        """As `find`, of rows that may be committed: those of units that wait do not count."""
        row = self.open.get(key, MISSING)
        return self.committing.get(key, MISSING) if row is MISSING else row

    def between(
        self, unit: Mapping[bytes, object], start: bytes = b"", stop: bytes | None = None
    ) -> dict[bytes, object]:
        """The newest row of each key from start to before stop, a unit's own before all others."""
        found: dict[bytes, object] = {}
        for layer, ordered in ((self.committing, self._closed), (self.open, self._opened)):
            if layer:
                found.update((key, layer[key]) for key in ordered.between(layer, start, stop))
        for rows in (self.pending, unit):
            for key, row in rows.items():
                if key >= start and (stop is None or key < stop):
                    found[key] = row
        return found

    def defer(self, rows: Mapping[bytes, object]) -> None:
        """Make rows readable that may not be committed yet."""
        self.pending.update(rows)
        self._deferred.update(dict.fromkeys(rows, rows))

    def settle(self) -> None:
        """Every deferred row has been merged: the pending layer hides nothing any more."""
        self.pending.clear()
        self._deferred.clear()

    def undefer(self, rows: Mapping[bytes, object]) -> None:
        """These deferred rows (the same mapping) are in the open epoch now; newer ones of their
        keys stay.
        """
        pending, deferred = self.pending, self._deferred
        for key in rows:
            if deferred.get(key) is rows:
                del pending[key], deferred[key]

    def close(self) -> dict[bytes, object]:
        """Move the open epoch's rows to the transaction; at most one epoch is committing."""
        assert not self.committing, "an epoch is committing already"
        self.committing, self.open = self.open, {}
        self._closed, self._opened = self._opened, Ordered()
        return self.committing

    def committed(self) -> None:
        """The store holds the rows of the committing epoch now."""
        self.committing = {}
        self._closed = Ordered()

    def drop(self) -> None:
        """Forget everything uncommitted."""
        self.pending, self.open, self.committing = {}, {}, {}
        self._opened, self._closed = Ordered(), Ordered()
        self._deferred = {}
