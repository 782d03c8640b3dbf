"""The layers between a table partition's committed rows and the unit that reads it now.

Pure. Rows pass from `pending` (units whose offsets are not complete yet) to `open` (the epoch
that fills) to `committing` (the epoch in its transaction) and then leave for the store. Nothing
here knows what a row's value means: it is what the table partition put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Absent(Enum):
    """Answers that are not values."""

    MISSING = "missing"
    """No layer knows the key: ask the store."""
    DELETED = "deleted"
    """The key is known to have no value."""


MISSING: Final = Absent.MISSING
DELETED: Final = Absent.DELETED


class Overlay:
    """Uncommitted rows of one table partition, newest layer first."""

    __slots__ = ("_deferred", "committing", "open", "pending")

    def __init__(self) -> None:
        self.pending: dict[bytes, object] = {}
        # Whose each pending row is: equal rows of two units may be one object.
        self._deferred: dict[bytes, Mapping[bytes, object]] = {}
        self.open: dict[bytes, object] = {}
        self.committing: dict[bytes, object] = {}

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

    def merged(self) -> dict[bytes, object]:
        """All layers as one, the newest row of each key."""
        return {**self.committing, **self.open, **self.pending}

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
        return self.committing

    def committed(self) -> None:
        """The store holds the rows of the committing epoch now."""
        self.committing = {}

    def drop(self) -> None:
        """Forget everything uncommitted."""
        self.pending, self.open, self.committing = {}, {}, {}
        self._deferred = {}
