"""Marks: how a watermark crosses a repartition topic.

Pure. Behind the records that it forwarded, each source partition writes its watermark into every
partition of the topic; who reads there is as far as the least of them, idle ones aside. Without
marks, partitions that are read at different speeds would look like events out of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from flowstream.processing.events.event import Arrival
from flowstream.processing.time.watermarks import UNKNOWN

HEADER = "flowstream.watermark"
PAUSE_MS = 250
"""A source marks no more often than this."""
MOST_DIGITS = 19
"""Of a time in ms, which has 64 bits; thousands are none that Python reads."""

Headers = tuple[tuple[str, bytes | None], ...]


class Mark(NamedTuple):
    """A watermark in ms, and whether its source has been silent for long."""

    at_ms: int
    idle: bool


def mark_headers(upstream: str, mark: Mark) -> Headers:
    """The headers of a mark: a record without key and value."""
    state = "idle" if mark.idle else "active"
    return ((HEADER, f"{mark.at_ms} {state} {upstream}".encode()),)


def mark_of(record: Arrival) -> tuple[str, Mark] | None:
    """The source and its mark, None when the record is none.

    A record like it from elsewhere marks nothing: the source must be one that is expected.
    """
    if record.key is not None or record.value is not None or not record.headers:
        return None
    told = (dict(record.headers).get(HEADER) or b"").decode("utf-8", "replace")
    at, state, upstream = [*told.split(" ", 2), "", ""][:3]
    digits = at.removeprefix("-")
    if not upstream or not digits.isdecimal() or len(digits) > MOST_DIGITS:
        return None
    return upstream, Mark(int(at), state == "idle")


class Marks:
    """What the sources behind one repartition topic have marked.

    >>> marks = Marks(["a/0", "a/1"])
    >>> marks.put("a/0", Mark(10, False)), marks.bound == Mark(UNKNOWN, False)
    (True, True)
    >>> marks.put("a/1", Mark(7, False)), marks.bound
    (True, Mark(at_ms=7, idle=False))
    """

    __slots__ = ("_at", "changed")

    def __init__(self, sources: Iterable[str], known: Mapping[str, Mark] | None = None) -> None:
        self._at = dict.fromkeys(sources, Mark(UNKNOWN, idle=False))
        self.changed = False
        for source, mark in (known or {}).items():
            if source in self._at:
                self._at[source] = mark

    def put(self, source: str, mark: Mark) -> bool:
        """A mark has come; False when nobody expected it. A watermark never falls."""
        before = self._at.get(source)
        if before is None:
            return False
        now = Mark(max(before.at_ms, mark.at_ms), mark.idle)
        if now != before:
            self._at[source] = now
            self.changed = True
        return True

    @property
    def bound(self) -> Mark:
        """The least of those that are not idle; when all are, nobody holds back the greatest."""
        active = [mark.at_ms for mark in self._at.values() if not mark.idle]
        if active:
            return Mark(min(active), idle=False)
        return Mark(max((mark.at_ms for mark in self._at.values()), default=UNKNOWN), idle=True)

    def encode(self) -> bytes:
        """All of them, to be kept with a commit."""
        return encode_marks(self._at)


def encode_marks(marks: dict[str, Mark]) -> bytes:
    """Marks as they are kept."""
    return msgspec.json.encode(marks)


_decoder = msgspec.json.Decoder(dict[str, Mark])


def decode_marks(data: bytes | None) -> dict[str, Mark]:
    """Marks that were kept; none when there are none."""
    return {} if data is None else _decoder.decode(data)


class Marker:
    """What one forwarding source has marked last, and when it has to again."""

    __slots__ = ("_at_ms", "_told", "upstream")

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._told = Mark(UNKNOWN, idle=False)
        self._at_ms = -PAUSE_MS

    def due(self, mark: Mark, *, now_ms: int) -> Mark | None:
        """The mark to write now, None when there is none."""
        if mark == self._told or now_ms - self._at_ms < PAUSE_MS:
            return None
        self._told, self._at_ms = mark, now_ms
        return mark
