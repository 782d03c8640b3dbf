"""One partition of a table: what units share of it (see `table_view`), and what an epoch takes.

Pure but for the store it was given (a door). Reads go unit -> overlay -> decoded-object cache ->
store; immutable values are handed out as they are, mutable ones as a fresh copy per unit and key.
Knows nothing of topics, offsets of inputs, windows or agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol, TypeVar, cast

from flowstream.errors import FlowstreamError
from flowstream.state.keys import shown_key
from flowstream.state.overlay import DELETED, MISSING, Overlay
from flowstream.state.unfit import unfit

V = TypeVar("V")

CACHED_OBJECTS = 50_000
"""Decoded objects kept per generation of a partition's cache; two generations live."""
ROW_BYTES = 1_000_000
"""Key and value of a row, at most, where the changelog's own limit is not known."""


class ValueCodec(Protocol):
    """What a table needs of a codec (see `flowstream.processing.values.codecs`)."""

    @property
    def name(self) -> str:
        """The declared type's name, for messages."""

    @property
    def encode(self) -> Callable[[Any], bytes]:
        """Value to bytes; raises on another type."""

    @property
    def decode(self) -> Callable[[bytes], Any]:
        """Bytes to a fresh value."""

    @property
    def immutable(self) -> bool:
        """True when one object may be shared by all readers."""

    @property
    def check(self) -> Callable[[Any], None] | None:
        """Not None: a value that passes always encodes, so encoding may wait for the epoch."""


class RowStore(Protocol):
    """The part of a state store that a table partition uses."""

    def get(self, key: bytes) -> bytes | None:
        """The committed row."""

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Committed rows in key order."""

    def write(
        self,
        rows: Mapping[bytes, bytes | None],
        *,
        changelog_offset: int | None,
        source_offset: int | None,
    ) -> None:
        """One atomic batch (S1)."""


Mend = Callable[[bytes, bytes, Exception], Any]
"""A row that does not decode (key, row, the codec's error) to a value, or a better error."""


def _unmended(key: bytes, row: bytes, error: Exception) -> NoReturn:
    del key, row
    raise error


class RowTooLarge(FlowstreamError):
    """A row that the table's changelog would not take; the message names both and the remedy."""


class Sealed:
    """A completed unit's writes to one partition, ready to merge: rows and cacheable objects."""

    __slots__ = ("cached", "partition", "rows")

    def __init__(
        self, partition: TablePartition, rows: dict[bytes, object], cached: dict[bytes, object]
    ) -> None:
        self.partition = partition
        self.rows = rows
        self.cached = cached


class TablePartition:
    """The rows of one table partition, shared by every unit of its task."""

    __slots__ = ("_warm", "codec", "hot", "is_own", "limit", "mend", "most_bytes", "name", "number",
                 "overlay", "store")  # fmt: skip

    def __init__(
        self,
        name: str,
        number: int,
        store: RowStore,
        codec: ValueCodec,
        *,
        limit: int = 0,
        most_bytes: int = ROW_BYTES,
        mend: Mend = _unmended,
    ) -> None:
        self.name = name
        self.number = number
        self.store = store
        self.codec = codec
        self.limit = limit or CACHED_OBJECTS
        self.most_bytes = most_bytes
        self.mend = mend
        self.overlay = Overlay()
        self.is_own: Callable[[bytes], bool] | None = None  # rows of `dues`, none of the table's
        # Objects for immutable codecs, encoded bytes for mutable ones (decoding is the copy).
        # Always the newest state of a key; a key that is in no generation is in a layer below.
        self.hot: dict[bytes, object] = {}
        self._warm: dict[bytes, object] = {}

    def read(self, key: bytes) -> object:
        """The newest completed value in cached form, or DELETED."""
        found = self.hot.get(key, MISSING)
        return self._load(key) if found is MISSING else found

    def _load(self, key: bytes) -> object:
        found = self._warm.get(key, MISSING)
        if found is MISSING:
            found = self._cached_form(self.overlay.find(key), key)
        self._keep(key, found)
        return found

    def _cached_form(self, row: object, key: bytes) -> object:
        if row is MISSING:
            stored = self.store.get(key)
            row = DELETED if stored is None else stored
            return self.decoded(key, stored) if stored is not None and self.codec.immutable else row
        if isinstance(row, bytes) and self.codec.immutable and self.codec.check is None:
            return self.decoded(key, row)
        return row

    def decoded(self, key: bytes, row: bytes) -> Any:
        """A row's value, also where the row is older than the value type."""
        try:
            return self.codec.decode(row)
        except Exception as error:  # noqa: BLE001 - whatever a codec raises; it is raised again
            return self.mend(key, row, error)

    def _keep(self, key: bytes, value: object) -> None:
        if len(self.hot) >= self.limit:
            self._warm, self.hot = self.hot, {}
        self.hot[key] = value

    def remember(self, cached: Mapping[bytes, object]) -> None:
        """Keep the newest objects at hand."""
        if len(self.hot) + len(cached) > self.limit:
            self._warm, self.hot = self.hot, {}
        self.hot.update(cached)

    def replicate(self, rows: Mapping[bytes, bytes | None], changelog_offset: int | None) -> None:
        """Rows that another worker has committed."""
        self.store.write(rows, changelog_offset=changelog_offset, source_offset=None)
        for key in rows:
            self.hot.pop(key, None)
            self._warm.pop(key, None)

    def defer(self, sealed: Sealed) -> None:
        """Make a unit readable whose offset is not complete yet."""
        self.overlay.defer(sealed.rows)
        self.remember(sealed.cached)

    def merge(self, sealed: Sealed) -> None:
        """Add a deferred unit to the open epoch (its objects are cached already)."""
        self.overlay.open.update(sealed.rows)

    def absorb(self, sealed: Sealed) -> None:
        """Add a completed unit to the open epoch at once."""
        self.overlay.open.update(sealed.rows)
        self.remember(sealed.cached)

    def encoded(self, writes: Mapping[bytes, object]) -> dict[bytes, object]:
        """A unit's rows as bytes. Raises what the codec raises, naming table and key, and
        RowTooLarge.
        """
        encode = self.codec.encode
        try:
            rows: dict[bytes, object] = {
                key: value if value is DELETED else encode(value) for key, value in writes.items()
            }
        except (TypeError, ValueError) as error:
            raise self._unencodable(writes, error) from None
        self.check_sizes(rows)
        return rows

    def _unencodable(self, writes: Mapping[bytes, object], error: Exception) -> Exception:
        """The error for the first value that does not encode."""
        for key, value in writes.items():
            try:
                if value is not DELETED:
                    self.codec.encode(value)
            except (TypeError, ValueError):
                return self.unfit(key, value, error)
        return error

    def unfit(self, key: bytes, value: object, error: Exception) -> TypeError | ValueError:
        """The error for a value that the table's type does not hold."""
        is_no_text = self.codec.encode is str.encode and not isinstance(value, str)
        shown = shown_key(key)
        return unfit(self.name, self.codec.name, shown, value, error, is_no_text=is_no_text)

    def check_sizes(self, rows: Mapping[bytes, object]) -> None:
        """Raise RowTooLarge for what the changelog would refuse: in the unit that wrote it, where
        the agent's policy can deal with it.
        """
        most = self.most_bytes
        for key, row in rows.items():
            if row is not DELETED and len(row) + len(key) > most:  # type: ignore[arg-type]
                self._refuse(key, cast("bytes", row))

    def _refuse(self, key: bytes, row: bytes) -> NoReturn:
        raise RowTooLarge(
            f"table {self.name!r}: the row of key {shown_key(key)} has {len(key) + len(row)} bytes,"
            f" but its changelog takes {self.most_bytes}: keep less in one row, or raise its"
            " max.message.bytes and start the worker again"
        )

    @property
    def dirty(self) -> int:
        """Keys in the open epoch."""
        return len(self.overlay.open)

    def close(self) -> dict[bytes, bytes | None]:
        """Encode the open epoch's rows, once for changelog and store; None is a tombstone."""
        encode = self.codec.encode if self.codec.check is not None else None
        rows: dict[bytes, bytes | None] = {}
        for key, row in self.overlay.close().items():
            if row is DELETED:
                rows[key] = None
            elif encode is not None:
                rows[key] = encode(row)
            else:
                rows[key] = cast("bytes", row)
        return rows

    def committed(
        self,
        rows: Mapping[bytes, bytes | None],
        changelog_offset: int | None,
        source_offset: int | None,
    ) -> None:
        """The epoch's transaction is decided: one write batch to the store (S1)."""
        self.store.write(rows, changelog_offset=changelog_offset, source_offset=source_offset)
        self.overlay.committed()

    def drop(self) -> None:
        """Forget everything uncommitted, and all objects that were read beside it."""
        self.overlay.drop()
        self.hot, self._warm = {}, {}

    def rows(
        self,
        unit: Mapping[bytes, object],
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, object]]:
        """Rows with start <= key < stop in key order as a unit sees them, in cached form or a
        unit's own object.
        """
        layers = self.overlay.between(unit, start, stop)
        fresh = iter(sorted(layers, reverse=reverse))
        upcoming = next(fresh, None)
        for key, stored in self.store.scan(start, stop, reverse=reverse):
            if self.is_own is not None and self.is_own(key):
                continue
            while upcoming is not None and (upcoming > key if reverse else upcoming < key):
                yield from self._row(upcoming, layers, unit)
                upcoming = next(fresh, None)
            if upcoming == key:
                yield from self._row(key, layers, unit)
                upcoming = next(fresh, None)
            else:
                yield key, self.decoded(key, stored) if self.codec.immutable else stored
        while upcoming is not None:
            yield from self._row(upcoming, layers, unit)
            upcoming = next(fresh, None)

    def _row(
        self, key: bytes, layers: Mapping[bytes, object], unit: Mapping[bytes, object]
    ) -> Iterator[tuple[bytes, object]]:
        row = layers[key]
        if row is not DELETED:
            yield key, row if key in unit else self._cached_form(row, key)
