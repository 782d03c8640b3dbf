"""Marks: how a watermark crosses a repartition topic.

Pure. Behind the records that it forwarded, each source partition writes its watermark into every
partition of the topic; who reads there is as far as the least of them. Without marks, partitions
that are read at different speeds would look like events out of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from flowstream.processing.event import Arrival
from flowstream.processing.watermarks import FOREVER, UNKNOWN

HEADER = "flowstream.watermark"
IDLE = FOREVER
"""The mark of a source that holds nobody back, as long as it brings nothing."""
PAUSE_MS = 250
"""A source marks no more often than this."""

Headers = tuple[tuple[str, bytes | None], ...]


def mark_headers(upstream: str, at_ms: int) -> Headers:
    """The headers of a mark: a record without key and value."""
    return ((HEADER, f"{at_ms} {upstream}".encode()),)


def mark_of(record: Arrival) -> tuple[str, int] | None:
    """The source and its watermark, None when the record is no mark.

    A record like it from elsewhere marks nothing: the source must be one that is expected.
    """
    if record.key is not None or record.value is not None or not record.headers:
        return None
    told = dict(record.headers).get(HEADER)
    at, _, upstream = (told or b"").decode("utf-8", "replace").partition(" ")
    return (upstream, int(at)) if upstream and at.removeprefix("-").isdecimal() else None


class Marks:
    """What the sources behind one repartition topic have marked.

    >>> marks = Marks(["a/0", "a/1"])
    >>> marks.put("a/0", 10), marks.bound_ms == UNKNOWN, marks.put("a/1", 7), marks.bound_ms
    (True, True, True, 7)
    """

    __slots__ = ("_at", "changed")

    def __init__(self, sources: Iterable[str], known: Mapping[str, int] | None = None) -> None:
        self._at = dict.fromkeys(sources, UNKNOWN)
        self.changed = False
        for source, at_ms in (known or {}).items():
            if source in self._at:
                self._at[source] = at_ms

    def put(self, source: str, at_ms: int) -> bool:
        """A mark has come; False when nobody expected it. Only an idle source may fall back."""
        before = self._at.get(source)
        if before is None:
            return False
        if at_ms > before or before == IDLE:
            self._at[source] = at_ms
            self.changed = True
        return True

    @property
    def bound_ms(self) -> int:
        """The least of them; IDLE when all sources are."""
        return min(self._at.values(), default=IDLE)

    def encode(self) -> bytes:
        """All of them, to be kept with a commit."""
        return msgspec.json.encode(self._at)


_decoder = msgspec.json.Decoder(dict[str, int])


def decode_marks(data: bytes | None) -> dict[str, int]:
    """Marks that were kept; none when there are none."""
    return {} if data is None else _decoder.decode(data)


class Marker:
    """What one forwarding source has marked last, and when it has to again."""

    __slots__ = ("_at_ms", "_told_ms", "upstream")

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._told_ms = UNKNOWN
        self._at_ms = -PAUSE_MS

    def due(self, bound_ms: int, *, idle: bool, now_ms: int) -> int | None:
        """The mark to write now, None when there is none."""
        mark = IDLE if idle else bound_ms
        if mark in (self._told_ms, UNKNOWN) or now_ms - self._at_ms < PAUSE_MS:
            return None
        if mark < self._told_ms != IDLE:
            return None
        self._told_ms, self._at_ms = mark, now_ms
        return mark
