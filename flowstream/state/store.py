"""What a table's partition is kept in. The protocol alone: knows no database and no changelog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from flowstream.errors import FlowstreamError

FORMAT = 1
"""Version of what stores keep on disk; a newer one is refused."""

Rows = Mapping[bytes, bytes | None]
"""Rows to write by key; None deletes."""


class StoreIdentity(NamedTuple):
    """Whose rows a store holds."""

    app: str
    table: str
    partition: int
    format: int = FORMAT


class Size(NamedTuple):
    """Rows and bytes of a store, as far as one can tell without reading it."""

    rows: int
    bytes: int


class StoreError(FlowstreamError):
    """A store cannot be opened, read or written; the message names its path and the remedy."""


class ForeignStateError(StoreError):
    """A store of another app, table or partition, or of a newer format."""


class StoreLocked(StoreError):
    """Another process has the store open."""


@runtime_checkable
class StateStore(Protocol):
    """Rows of one partition of one table, with the offsets they stand for.

    `changelog_offset` is the changelog position up to which all records are in the store (the
    offset of the next one to apply); `source_offset` the committed position of the source. Both
    are None in a store that was never written. The store holds only committed data (S1).
    """

    @property
    def changelog_offset(self) -> int | None:
        """Position in the changelog from which a restore goes on."""

    @property
    def source_offset(self) -> int | None:
        """Committed position in the source partition."""

    @property
    def written_ms(self) -> int | None:
        """Wall time at which the store was last known to hold all of the changelog, or at which
        its first build began. One that missed more than `delete.retention.ms` is rebuilt.
        """

    @property
    def lineage(self) -> bytes | None:
        """The id of the topic that the rows come from, as `descend` was told."""

    def descend(self, lineage: bytes) -> None:
        """Remember, on disk at once, from which topic the rows come: offsets of another topic of
        the same name mean nothing here.
        """

    def get(self, key: bytes) -> bytes | None:
        """The row of `key`."""

    def write(
        self,
        rows: Rows,
        *,
        changelog_offset: int | None = None,
        source_offset: int | None = None,
        caught_up: bool = True,
    ) -> None:
        """Write rows and offsets in one atomic batch. An offset that is None keeps its value.

        `caught_up` marks the store as current now: false in the middle of a restore, where
        deletions that come later may be about to go; without rows it is a mark alone.
        """

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order, as they are when the scan begins."""

    def size(self) -> Size:
        """How much there is, without reading it: an estimate."""

    def count(self) -> int:
        """Number of rows; reads them all."""

    def clear(self) -> None:
        """Delete all rows and forget the offsets: the store is as new."""

    def flush(self) -> None:
        """Bring everything written to disk."""

    def close(self) -> None:
        """Flush and let go. Closing twice is allowed, nothing else is after it."""
