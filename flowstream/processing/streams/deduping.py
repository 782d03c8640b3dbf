"""Values seen before: what `stream.dedupe(within=...)` drops.

A value's id is remembered in a table of the agent from its event time on, until the watermark is
`within` past it: where events are out of order by more than that, at several times. Pure over the
table view it is given; the source here only cleans up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from flowstream.processing.errors import AppError
from flowstream.processing.streams.stream import DerivedStream, Stream, TimedOut
from flowstream.processing.tables.inner import Fired, Kept, KeyedRows
from flowstream.processing.tables.table import Table
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.values.codecs import BYTES, Codec, encode_any_key
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.processing.values.fields import by as field_by
from flowstream.processing.values.fields import check_field
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

T = TypeVar("T")

Times = tuple[int, ...]
"""Event times (ms) at which an id was new, in order: `within` or more apart."""


MOST_TIMES = 100
"""Of one id, the newest: the watermark may be far behind, where one source of several is."""


def _encode(times: Times) -> bytes:
    return b" ".join(b"%d" % at for at in times)


def _decode(data: bytes) -> Times:
    return tuple(map(int, data.split(b" ")))


TIMES: Codec[Times] = Codec("times", _encode, _decode, immutable=True)

DEDUPED_BEFORE = "dedupe comes after group_by: ids are remembered per partition"


class Seen(KeyedRows[Any, Any]):
    """The ids that one agent has seen; nothing of it is ever told."""

    kind = "seen"

    def __init__(
        self, within: Seconds, by: Callable[[Any], Any] | str | None, *, name: str | None
    ) -> None:
        self.within_ms = milliseconds(within)
        if self.within_ms <= 0:
            raise AppError(f"dedupe needs a horizon above 0, not within={within!r}")
        self.field = by if isinstance(by, str) else None
        self.by = None if by is None else field_by(by, "dedupe's by=")
        self.given_name = name
        self.key_codec = BYTES
        self.value_codec = BYTES
        self.name = ""

    def bind(self, agent: str, keys: Codec[Any], values: Codec[Any]) -> None:
        """Learn whose ids these are."""
        del keys, values
        table = self.given_name or f"{agent}-seen"
        self.name = f"{table}.seen"
        rows: Table[Any, Any] = Table(
            table, key_type=bytes, value_type=bytes, default=None, partitions=None
        )
        rows.value_codec = TIMES
        self._keep_in(rows)

    def check(self, kind: Any, what: str) -> None:
        """AppError when values of this type have no such field."""
        if self.field is not None:
            check_field(kind, self.field, f"{what}: dedupe(by={self.field!r})")

    @property
    def by_value(self) -> bool:
        """A row holds event times."""
        return True

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """When it was new."""
        del row
        return (Kept(None, at_ms=at) for at in value)

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """When the last of its times is over."""
        del watermark_ms
        return max(value) + self.within_ms if row.startswith(PREFIX) else None

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """Always silent."""
        return Fired(self.name, partition, due_ms, None, None, row, due_ms, is_silent=True)

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """Forget it."""
        del now_ms
        views[self.table].delete(fired.row)

    def is_new(self, view: TableView, id: bytes, at_ms: int, watermark_ms: int) -> bool:
        """Whether an id was not seen within the horizon of this event; remembers it then. What the
        watermark has passed is forgotten, whether or not its row is there yet.
        """
        row, within_ms = PREFIX + id, self.within_ms
        found: Any = view.get(row)
        known = () if found is DELETED else found
        times = [at for at in known if at + within_ms > watermark_ms]
        if any(abs(at_ms - at) < within_ms for at in times):
            return False
        if at_ms + within_ms > watermark_ms:
            view.set(row, tuple(sorted([*times, at_ms])[-MOST_TIMES:]))
        return True


class DedupeStream(DerivedStream[T]):
    """See `Stream.dedupe`."""

    is_transparent = True

    def __init__(self, up: Stream[T], seen: Seen) -> None:
        super().__init__(up)
        self._seen = seen

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            record = self._feed.record
            assert record is not None
            id = record.key if self._seen.by is None else encode_any_key(self._seen.by(value))
            if id is None:
                raise ValueError("dedupe goes by key, and the record has none: say by=")
            if self._feed.is_new(self._seen, id):
                return cast("T", value)
