"""What windows of a stream keep per key, and how an event changes them.

Pure over the table view it is given. Tumbling and hopping windows are rows `key@start` (see
`windows`). Sessions and sliding windows depend on a key's events: all open ones of a key are one
row, a tuple of spans in the order of time.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from flowstream.processing.time.aggregates import Aggregate
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.time.windows import Window, split_window_key, window_key
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView


class Span(NamedTuple):
    """A window's span [start, end) in ms, and its accumulator."""

    start_ms: int
    end_ms: int
    kept: Any


@dataclass(frozen=True, slots=True)
class Told:
    """A window to tell about, and its key."""

    key: bytes
    span: Span


class Windowing:
    """One kind of windows over one aggregate. `grace_ms`: how long after its end one closes."""

    by_value = False
    written_as = b""
    """What tells rows of these windows from those of others, and may not change under them."""

    def __init__(self, aggregate: Aggregate[Any], grace_ms: int) -> None:
        self.aggregate = aggregate
        self.grace_ms = grace_ms

    @property
    @abstractmethod
    def kept_type(self) -> Any:
        """The type of a row's value."""

    @abstractmethod
    def add(
        self, view: TableView, key: bytes, at_ms: int, value: Any, watermark_ms: int
    ) -> list[Span] | None:
        """Add a value to its windows; the windows that changed, None when it comes too late."""

    def is_cut(self, at_ms: int, watermark_ms: int) -> bool:
        """Whether some of the windows that hold an instant take nothing more."""
        del at_ms, watermark_ms
        return False

    @abstractmethod
    def due_ms(self, row: bytes, value: Any) -> int | None:
        """The watermark at which something about a row is final."""

    @abstractmethod
    def told(self, row: bytes, view: TableView, due_ms: int) -> Told | None:
        """What is final about a row at that watermark; None when it only has to be cleaned up."""

    @abstractmethod
    def settle(self, row: bytes, view: TableView, due_ms: int) -> None:
        """Write that what was due then is over."""

    @abstractmethod
    def key_of(self, row: bytes) -> bytes | None:
        """The key of a row; None for a row that is no key's."""

    @abstractmethod
    def spans(self, row: bytes, value: Any) -> list[Span]:
        """The windows of a row that are not final yet, in the order of time."""


class FixedWindows(Windowing):
    """Tumbling and hopping windows."""

    def __init__(self, aggregate: Aggregate[Any], window: Window) -> None:
        super().__init__(aggregate, window.grace_ms or 0)
        self.window = window
        self.written_as = window.written_as

    @property
    def kept_type(self) -> Any:
        """The accumulator's."""
        return self.aggregate.kept

    def add(
        self, view: TableView, key: bytes, at_ms: int, value: Any, watermark_ms: int
    ) -> list[Span] | None:
        """See Windowing."""
        changed = []
        for start in self.window.starts(at_ms):
            if self.window.is_closed(start, watermark_ms):
                continue
            row = window_key(key, start)
            kept = view.get(row)
            aggregate = self.aggregate
            kept = aggregate.first(value) if kept is DELETED else aggregate.add(kept, value)
            view.set(row, kept)
            changed.append(Span(start, start + self.window.size_ms, kept))
        return changed or None

    def is_cut(self, at_ms: int, watermark_ms: int) -> bool:
        """See Windowing."""
        return self.window.is_closed(self.window.earliest(at_ms), watermark_ms)

    def due_ms(self, row: bytes, value: Any) -> int | None:
        """Its end and the grace."""
        del value
        found = split_window_key(row)
        return None if found is None else self.window.closes_ms(found[1])

    def told(self, row: bytes, view: TableView, due_ms: int) -> Told | None:
        """The whole row."""
        del due_ms
        found, kept = split_window_key(row), view.get(row)
        if found is None or kept is DELETED:
            return None
        key, start = found
        return Told(key, Span(start, start + self.window.size_ms, kept))

    def settle(self, row: bytes, view: TableView, due_ms: int) -> None:
        """The row goes."""
        del due_ms
        view.delete(row)

    def key_of(self, row: bytes) -> bytes | None:
        """What stands before the start of the window."""
        found = split_window_key(row)
        return None if found is None else found[0]

    def spans(self, row: bytes, value: Any) -> list[Span]:
        """The row's."""
        found = split_window_key(row)
        return [] if found is None else [Span(found[1], found[1] + self.window.size_ms, value)]


Spans = tuple[tuple[int, int, Any], ...]


class KeyWindows(Windowing):
    """Windows of which all open ones of a key are one row."""

    by_value = True

    def key_of(self, row: bytes) -> bytes | None:
        """What stands behind the prefix."""
        return row.removeprefix(PREFIX) if row.startswith(PREFIX) else None


class SessionWindows(KeyWindows):
    """Sessions: events of a key that are at most `gap_ms` apart are one window.

    A session's span is from its first event to `gap_ms` after its last, exclusive: two events
    exactly a gap apart are in two sessions, as in the Dataflow model.
    """

    written_as = b"sessions"

    def __init__(self, aggregate: Aggregate[Any], gap_ms: int, grace_ms: int) -> None:
        super().__init__(aggregate, grace_ms)
        self.gap_ms = gap_ms

    @property
    def kept_type(self) -> Any:
        """All open sessions of a key."""
        return tuple[tuple[int, int, self.aggregate.kept], ...]  # type: ignore[name-defined]

    def add(
        self, view: TableView, key: bytes, at_ms: int, value: Any, watermark_ms: int
    ) -> list[Span] | None:
        """See Windowing. Sessions that the event connects become one."""
        row = PREFIX + key
        found = view.get(row)
        spans = () if found is DELETED else cast("Spans", found)
        start, end = at_ms, at_ms + self.gap_ms
        # A session that is final by now, told or not, takes nothing more.
        touched = [
            span
            for span in spans
            if span[0] < end and start < span[1] and span[1] + self.grace_ms > watermark_ms
        ]
        last = max([end, *(span[1] for span in touched)])
        if last + self.grace_ms <= watermark_ms:
            return None
        kept = None
        for span in touched:
            kept = span[2] if kept is None else self.aggregate.merge(kept, span[2])
        aggregate = self.aggregate
        kept = aggregate.first(value) if kept is None else aggregate.add(kept, value)
        merged = (min([start, *(span[0] for span in touched)]), last, kept)
        rest = [span for span in spans if span not in touched]
        view.set(row, tuple(sorted([*rest, merged], key=lambda span: span[:2])))
        return [Span(*merged)]

    def due_ms(self, row: bytes, value: Any) -> int | None:
        """The first of the key's sessions to close."""
        if not row.startswith(PREFIX):
            return None
        return min(span[1] for span in cast("Spans", value)) + self.grace_ms

    def told(self, row: bytes, view: TableView, due_ms: int) -> Told | None:
        """The session that closes then."""
        span = self._closing(view.get(row), due_ms)
        return None if span is None else Told(row[len(PREFIX) :], Span(*span))

    def _closing(self, spans: object, due_ms: int) -> tuple[int, int, Any] | None:
        if spans is DELETED:
            return None
        ended = [span for span in cast("Spans", spans) if span[1] + self.grace_ms <= due_ms]
        return ended[0] if ended else None

    def settle(self, row: bytes, view: TableView, due_ms: int) -> None:
        """That session goes; others of the key stay."""
        spans = view.get(row)
        span = self._closing(spans, due_ms)
        if span is None:
            return
        rest = tuple(each for each in cast("Spans", spans) if each is not span)
        if rest:
            view.set(row, rest)
        else:
            view.delete(row)

    def spans(self, row: bytes, value: Any) -> list[Span]:
        """The open sessions."""
        del row
        return [Span(*span) for span in cast("Spans", value)]


class SlidingWindows(KeyWindows):
    """For every event of a key, the span of `size_ms` that ends with it: (event - size, event].

    Spans are told as [start, end) with end one millisecond after the event. All events of a key
    that a window to come may need are one row: (instant, whether it was told, accumulator).
    """

    written_as = b"sliding windows"

    def __init__(self, aggregate: Aggregate[Any], size_ms: int, grace_ms: int) -> None:
        super().__init__(aggregate, grace_ms)
        self.size_ms = size_ms

    @property
    def kept_type(self) -> Any:
        """A key's events."""
        return tuple[tuple[int, bool, self.aggregate.kept], ...]  # type: ignore[name-defined]

    def add(
        self, view: TableView, key: bytes, at_ms: int, value: Any, watermark_ms: int
    ) -> list[Span] | None:
        """See Windowing. Only the event's own window counts as changed."""
        if at_ms + 1 + self.grace_ms <= watermark_ms:
            return None
        row = PREFIX + key
        found = view.get(row)
        events = {} if found is DELETED else {e[0]: e for e in cast("Spans", found)}
        here = events.get(at_ms)
        aggregate = self.aggregate
        kept = aggregate.first(value) if here is None else aggregate.add(here[2], value)
        events[at_ms] = (at_ms, False, kept)
        after = self._needed(tuple(events[at] for at in sorted(events)), watermark_ms)
        view.set(row, after)
        return [self._window(after, at_ms)]

    def _needed(self, events: Spans, watermark_ms: int) -> Spans:
        """The events that a window to come, or one that was not told yet, may hold."""
        untold = [at + 1 + self.grace_ms for at, is_told, _ in events if not is_told]
        oldest = min([watermark_ms, *untold]) - 1 - self.size_ms - self.grace_ms
        return tuple(event for event in events if event[0] > oldest)

    def _window(self, events: Spans, at_ms: int) -> Span:
        kept = None
        for at, _, each in events:
            if at_ms - self.size_ms < at <= at_ms:
                kept = each if kept is None else self.aggregate.merge(kept, each)
        return Span(at_ms + 1 - self.size_ms, at_ms + 1, kept)

    def due_ms(self, row: bytes, value: Any) -> int | None:
        """The first event that was not told of; else when the row is of no more use."""
        if not row.startswith(PREFIX):
            return None
        events = cast("Spans", value)
        untold = [at for at, is_told, _ in events if not is_told]
        return min(untold) + 1 + self.grace_ms if untold else self._useless_ms(events)

    def _useless_ms(self, events: Spans) -> int:
        return max(at for at, _, _ in events) + 1 + self.size_ms + self.grace_ms

    def told(self, row: bytes, view: TableView, due_ms: int) -> Told | None:
        """The window of the event that is due then."""
        found = view.get(row)
        at_ms = None if found is DELETED else self._untold(cast("Spans", found), due_ms)
        if at_ms is None:
            return None
        return Told(row[len(PREFIX) :], self._window(cast("Spans", found), at_ms))

    def _untold(self, events: Spans, due_ms: int) -> int | None:
        due = [at for at, is_told, _ in events if not is_told and at + 1 + self.grace_ms <= due_ms]
        return min(due, default=None)

    def settle(self, row: bytes, view: TableView, due_ms: int) -> None:
        """That event is told of; events that no window to come needs go."""
        found = view.get(row)
        if found is DELETED:
            return
        events = cast("Spans", found)
        at_ms = self._untold(events, due_ms)
        told = tuple((at, is_told or at == at_ms, kept) for at, is_told, kept in events)
        rest = self._needed(told, due_ms)
        if rest and self._useless_ms(rest) > due_ms:
            view.set(row, rest)
        else:
            view.delete(row)

    def spans(self, row: bytes, value: Any) -> list[Span]:
        """Those that end with an event which was not told yet."""
        del row
        events = cast("Spans", value)
        return [self._window(events, at) for at, is_told, _ in events if not is_told]
