"""Windows of a stream: what `stream.tumbling(60).count()` and the like give an agent.

Declarations, and the stages that an agent with windows plays: one fills them as events come, one is
told their results as they come due. Which part an instance plays is decided by its source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar

from flowstream.processing.errors import AppError
from flowstream.processing.tables.closing import WindowResult, span_headers, window_result
from flowstream.processing.tables.inner import Fired, Kept, KeyedRows
from flowstream.processing.tables.lateness import Late
from flowstream.processing.tables.table import Table
from flowstream.processing.time import aggregates
from flowstream.processing.time.aggregates import Aggregate, Field
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.time.windowing import (
    FixedWindows,
    SessionWindows,
    SlidingWindows,
    Windowing,
)
from flowstream.processing.time.windows import Window
from flowstream.processing.values.codecs import Codec, codec_of
from flowstream.processing.values.durations import Seconds, milliseconds, not_negative, positive
from flowstream.processing.values.round_trips import check_kept, kept_codec
from flowstream.state.table_view import TableView

if TYPE_CHECKING:
    from flowstream.processing.streams.stream import Stream

T = TypeVar("T")
R = TypeVar("R")

Emit = Literal["on_close", "on_change"] | Seconds
"""When results are told: once when final, on every change, or at most every so often and final."""


class StreamWindows(KeyedRows[Any, WindowResult[Any, Any]]):
    """The windows of one agent: their table, and what comes due in it."""

    kind = "windows"

    def __init__(
        self, windowing: Windowing, *, name: str | None, every_ms: int | None, changes: bool,
        late: Late,
    ) -> None:  # fmt: skip
        self.windowing = windowing
        self.given_name = name
        self.every_ms = every_ms
        self.tells_changes = changes
        self.late: Late = late
        self.name = ""

    def bind(self, agent: str, keys: Codec[Any], values: Codec[Any]) -> None:
        """Learn whose windows these are and what their stream holds."""
        aggregate = self.windowing.aggregate
        aggregate.bind(values)
        table = self.given_name or f"{agent}-windows"
        self.name = f"{table}.closed"
        self.key_codec = keys
        self.value_codec = codec_of(aggregate.kept)
        rows: Table[Any, Any] = Table(
            table, key_type=bytes, value_type=bytes, default=None, partitions=None
        )
        # A function of the user's may change what it is given: it gets a fresh copy then.
        check_kept(self.windowing.kept_type, f"agent {agent!r}: what its windows keep")
        # Windows that collect have long rows, of values that were read as they are.
        own = not aggregate.is_foreign
        kept: Codec[Any] = kept_codec(self.windowing.kept_type, is_sure=own)
        shared = kept.immutable or own
        rows.value_codec = dataclasses.replace(kept, immutable=shared)
        rows.late, rows.written_as = self.late, self.windowing.written_as
        self._keep_in(rows)

    @property
    def begin(self) -> bytes:  # type: ignore[override]
        """As the kind of windows has it."""
        return PREFIX if self.by_value else b""

    def key_of(self, row: bytes) -> bytes | None:
        """As the kind of windows has it."""
        return self.windowing.key_of(row)

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """The result so far of each open window."""
        result = self.windowing.aggregate.result
        spans = self.windowing.spans(row, value)
        return (Kept(result(kept), (start, end)) for start, end, kept in spans)

    @property
    def by_value(self) -> bool:
        """As the kind of windows has it."""
        return self.windowing.by_value

    @property
    def shape(self) -> Callable[[Any, Any], WindowResult[Any, Any]]:
        """A result with its key and window."""
        decode, result = self.key_codec.decode, self.windowing.aggregate.result
        return lambda record, kept: window_result(record, result(kept), decode(record.key))

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """When it is final, or when the next interval begins in which it may be told."""
        final = self.windowing.due_ms(row, value)
        if self.every_ms is None or watermark_ms is None or final is None:
            return final
        return min(final, (watermark_ms // self.every_ms + 1) * self.every_ms)

    def then_ms(self, fired: Fired, value: Any) -> int | None:
        """After a result that was not final, the final one."""
        return self.windowing.due_ms(fired.row, value)

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """The result that is due, if any; else a silent one."""
        view = views[self.table]
        told = None if self.tells_changes else self.windowing.told(row, view, due_ms)
        if told is None:
            return Fired(self.name, partition, due_ms, None, None, row, due_ms, is_silent=True)
        span, final = told.span, not self._is_interim(row, view, due_ms)
        return Fired(
            self.name, partition, span.end_ms - 1, told.key, self.value_codec.encode(span.kept),
            row, due_ms, headers=span_headers(span.start_ms, span.end_ms, final=final),
        )  # fmt: skip

    def _is_interim(self, row: bytes, view: TableView, due_ms: int) -> bool:
        final = self.windowing.due_ms(row, view.get(row)) if self.every_ms is not None else None
        return final is not None and due_ms < final

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """What was final is over."""
        del now_ms
        view = views[self.table]
        if not self._is_interim(fired.row, view, fired.due_ms):
            self.windowing.settle(fired.row, view, fired.due_ms)


class Windows(Generic[T]):
    """The windows of a stream, before it is said what is kept of their values."""

    def __init__(
        self,
        stream: Stream[T],
        make: Callable[[Aggregate[Any]], Windowing],
        *,
        emit: Emit,
        late: Late,
        name: str | None,
        fixed: bool = True,
    ) -> None:
        if late not in ("drop", "dead_letter"):
            raise AppError(
                f"late= is 'drop' or 'dead_letter' for windows of a stream, not {late!r}: grace="
                " has them close later. Windows of a table are updated after that, too:"
                " app.Table(...).tumbling(size, grace=, expires=, late='update')"
            )
        self._every_ms = None if isinstance(emit, str) else milliseconds(emit)
        if isinstance(emit, str) and emit not in ("on_close", "on_change"):
            raise AppError(f"emit= is 'on_close', 'on_change' or seconds, not {emit!r}")
        if self._every_ms is not None and (self._every_ms <= 0 or not fixed):
            raise AppError(
                "emit= every so many seconds is for tumbling and hopping windows, and > 0"
            )
        self._stream = stream
        self._make = make
        self._changes = emit == "on_change"
        self._late: Late = late
        self._name = name

    if not TYPE_CHECKING:  # for type checkers windows are simply not iterable

        def __aiter__(self) -> NoReturn:
            raise AppError(
                "windows do not say what they keep: write e.g. `stream.tumbling(60).count()`, or"
                " .sum(field), .collect(), .aggregate(...)"
            )

    def _of(self, aggregate: Aggregate[R]) -> Stream[WindowResult[Any, R]]:
        windows = StreamWindows(
            self._make(aggregate), name=self._name, every_ms=self._every_ms,
            changes=self._changes, late=self._late,
        )  # fmt: skip
        return self._stream.windowed(windows)

    def count(self) -> Stream[WindowResult[Any, int]]:
        """How many values."""
        return self._of(aggregates.Count())

    def sum(
        self, field: Field | None = None, *, type: Any = None
    ) -> Stream[WindowResult[Any, Any]]:
        """The sum of the values or of a field; `type=` for others than int and float."""
        return self._of(aggregates.Sum(field, type=type))

    def min(
        self, field: Field | None = None, *, type: Any = None
    ) -> Stream[WindowResult[Any, Any]]:
        """The least value, or that of a field."""
        return self._of(aggregates.Min(field, type=type))

    def max(
        self, field: Field | None = None, *, type: Any = None
    ) -> Stream[WindowResult[Any, Any]]:
        """The greatest value, or that of a field."""
        return self._of(aggregates.Max(field, type=type))

    def mean(self, field: Field | None = None) -> Stream[WindowResult[Any, float]]:
        """The arithmetic mean of the values or of a field."""
        return self._of(aggregates.Mean(field))

    def collect(
        self, field: Field | None = None, *, type: Any = None
    ) -> Stream[WindowResult[Any, list[Any]]]:
        """All values, or a field of each, in the order of arrival."""
        return self._of(aggregates.Collect(field, type=type))

    def distinct(self, field: Field | None = None) -> Stream[WindowResult[Any, int]]:
        """About how many different values; see `aggregates.Distinct`."""
        return self._of(aggregates.Distinct(field))

    def reduce(
        self, function: Callable[[T, T], T], *, type: type[T]
    ) -> Stream[WindowResult[Any, T]]:
        """One value of all, two by two."""
        return self._of(aggregates.Reduce(function, type=type))

    def aggregate(self, **named: Aggregate[Any]) -> Stream[WindowResult[Any, dict[str, Any]]]:
        """Several aggregates side by side, by name."""
        return self._of(aggregates.Several(named))


def fixed(
    stream: Stream[T], size: Seconds, step: Seconds, grace: Seconds, **how: Any
) -> Windows[T]:
    """Windows of `size` that start every `step`."""
    try:
        window = Window(milliseconds(size), milliseconds(step), None, milliseconds(grace))
    except ValueError as error:
        raise AppError(f"windows of a stream: {error} (spans are in seconds)") from None
    return Windows(stream, lambda aggregate: FixedWindows(aggregate, window), **how)


def sessions(stream: Stream[T], gap: Seconds, grace: Seconds, **how: Any) -> Windows[T]:
    """Sessions that end `gap` after their last event."""
    gap_ms, grace_ms = positive("a session's gap", gap), not_negative("a session's grace", grace)
    return Windows(
        stream, lambda aggregate: SessionWindows(aggregate, gap_ms, grace_ms), fixed=False, **how
    )


def sliding(stream: Stream[T], size: Seconds, grace: Seconds, **how: Any) -> Windows[T]:
    """A window of `size` that ends with each event."""
    size_ms, grace_ms = positive("a window's size", size), not_negative("a window's grace", grace)
    return Windows(
        stream, lambda aggregate: SlidingWindows(aggregate, size_ms, grace_ms), fixed=False, **how
    )
