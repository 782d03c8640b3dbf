"""Joins of two streams: what each side keeps per key, and whom an event meets.

Pure over the table view it is given. A left event at `l` and a right one at `r` meet when
`l - before <= r <= l + after`. Each side of a key is one row: its events that may still meet one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from flowstream.processing.values.codecs import Codec
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

How = Literal["inner", "left", "outer"]
Side = Literal["left", "right"]

PREFIXES: dict[Side, bytes] = {"left": b"l=", "right": b"r="}
SIDES: dict[bytes, Side] = {prefix: side for side, prefix in PREFIXES.items()}
OTHER: dict[Side, Side] = {"left": "right", "right": "left"}

Entry = tuple[int, bool, bytes]
"""An event that waits: its instant in ms, whether it has met one, its value."""

_decoder = msgspec.msgpack.Decoder(tuple[Entry, ...])
ENTRIES: Codec[tuple[Entry, ...]] = Codec(
    "join", msgspec.msgpack.Encoder().encode, _decoder.decode, immutable=True
)


@dataclass(frozen=True, slots=True)
class StreamJoin:
    """A windowed join of two streams. Bounds are in ms; `grace_ms` is how late an event may be."""

    before_ms: int
    after_ms: int
    grace_ms: int
    how: How

    def reach_ms(self, side: Side) -> int:
        """How far after an event of this side one of the other may be to meet it."""
        return self.after_ms if side == "left" else self.before_ms

    def due_at(self, side: Side, at_ms: int) -> int:
        """The watermark at which nothing can meet an event any more."""
        return at_ms + self.reach_ms(side) + self.grace_ms + 1

    def keeps_lone(self, side: Side) -> bool:
        """Whether an event that meets none is told, too."""
        return self.how == "outer" or (self.how == "left" and side == "left")

    def meet(
        self, view: TableView, side: Side, key: bytes, at_ms: int, value: bytes, watermark_ms: int
    ) -> list[Entry] | None:
        """Enter an event; the events of the other side that it meets, None when it is too late."""
        if at_ms + self.grace_ms < watermark_ms:
            return None
        other = OTHER[side]
        theirs = entries(view, other, key)
        met = [
            self._meets(side, at_ms, entry[0]) and self.due_at(other, entry[0]) > watermark_ms
            for entry in theirs
        ]
        row = tuple(
            (at, had or meets, data) for (at, had, data), meets in zip(theirs, met, strict=True)
        )
        if row != theirs:
            view.set(PREFIXES[other] + key, row)
        # With a bound below zero it may be over for meetings before it is late: it is alone then.
        is_alone = self.keeps_lone(side) and not any(met)
        if is_alone or self.due_at(side, at_ms) > watermark_ms:
            mine = (*entries(view, side, key), (at_ms, any(met), value))
            view.set(PREFIXES[side] + key, tuple(sorted(mine, key=lambda entry: entry[0])))
        return [entry for entry, meets in zip(theirs, met, strict=True) if meets]

    def _meets(self, side: Side, at_ms: int, other_ms: int) -> bool:
        left, right = (at_ms, other_ms) if side == "left" else (other_ms, at_ms)
        return left - self.before_ms <= right <= left + self.after_ms

    def due_ms(self, row: bytes, value: object) -> int | None:
        """The first event of a row that nothing can meet any more."""
        side = SIDES.get(row[:2])
        if side is None:
            return None
        return self.due_at(side, cast("tuple[Entry, ...]", value)[0][0])

    def lone(self, row: bytes, view: TableView, due_ms: int) -> Entry | None:
        """The event of a row that is over at a watermark and has to be told, if any."""
        side = SIDES[row[:2]]
        over = [e for e in entries(view, side, row[2:]) if self.due_at(side, e[0]) <= due_ms]
        wanted = [entry for entry in over if not entry[1]] if self.keeps_lone(side) else []
        return wanted[0] if wanted else None

    def settle(self, row: bytes, view: TableView, due_ms: int) -> None:
        """The event that was told goes, and those that are over and need not be told."""
        side = SIDES[row[:2]]
        told = self.lone(row, view, due_ms)
        keeps = self.keeps_lone(side)
        rest = tuple(
            entry
            for entry in entries(view, side, row[2:])
            if entry is not told
            and (self.due_at(side, entry[0]) > due_ms or (keeps and not entry[1]))
        )
        if rest:
            view.set(row, rest)
        else:
            view.delete(row)


def entries(view: TableView, side: Side, key: bytes) -> tuple[Entry, ...]:
    """The events of one side of a key that may still meet one."""
    found = view.get(PREFIXES[side] + key)
    return () if found is DELETED else cast("tuple[Entry, ...]", found)
