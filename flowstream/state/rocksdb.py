"""Stores on disk: one RocksDB per table partition, the only importer of rocksdict.

The write-ahead log is off. That is sound because rows and offsets are one batch in one column
family: whatever a crash leaves on disk is some prefix of whole batches, and the changelog holds
the rest. Knows no changelog and no table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from flowstream.clock import wall_ms
from flowstream.state.store import (
    FORMAT,
    ForeignStateError,
    Rows,
    Size,
    StoreError,
    StoreIdentity,
    StoreLocked,
)

CACHE_BYTES = 64 << 20
"""Block cache that all stores of the process share."""
BLOCK_BYTES = 4096
"""What the cache holds: rows, and parts of indexes and filters, none much larger than this."""
WRITE_BUFFER_BYTES = 16 << 20
"""Rows of one store that may wait in memory; what a crash loses is read from the changelog."""

_ROW = b"\x01"
_AFTER_ROWS = b"\x02"
_IDENTITY = b"\x00identity"
_LINEAGE = b"\x00lineage"
_OFFSETS = b"\x00offsets"
_PACKED = struct.Struct(">qqq")
_NONE = -1

_SIZES = ("estimate-num-keys", "estimate-live-data-size", "cur-size-all-mem-tables")
_OPENED = "opened"
_REMEDY = "Delete the directory: it is rebuilt from the table's changelog."


class RocksStore:
    """A StateStore in a directory of its own. Made by `open_store`, or `read_store` to look at one
    that a worker may have open.
    """

    def __init__(self, path: Path, identity: StoreIdentity, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self.identity = identity
        self._options = _options()
        self._write_options = WriteOptions()
        # A property, whatever rocksdict's stub says.
        self._write_options.disable_wal = True  # type: ignore[method-assign,assignment]
        self._changelog_offset = self._source_offset = self._written_ms = _NONE
        self._db: Rdict | None = None
        self._open()

    @property
    def changelog_offset(self) -> int | None:
        """Position in the changelog from which a restore goes on."""
        return _known(self._changelog_offset)

    @property
    def source_offset(self) -> int | None:
        """Committed position in the source partition."""
        return _known(self._source_offset)

    @property
    def written_ms(self) -> int | None:
        """Wall time at which the store was last current."""
        return _known(self._written_ms)

    @property
    def lineage(self) -> bytes | None:
        """The id of the topic that the rows come from."""
        found: bytes | None = self._opened().get(_LINEAGE)
        return found

    def descend(self, lineage: bytes) -> None:
        """Remember, on disk at once, from which topic the rows come."""
        try:
            self._opened().put(_LINEAGE, lineage, self._write_options)
        except Exception as error:
            raise self._failed("written", error) from error
        self.flush()

    def get(self, key: bytes) -> bytes | None:
        """The row of `key`."""
        try:
            found: bytes | None = self._opened().get(_ROW + key)
        except Exception as error:
            raise self._failed("read", error) from error
        return found

    def write(
        self,
        rows: Rows,
        *,
        changelog_offset: int | None = None,
        source_offset: int | None = None,
        caught_up: bool = True,
    ) -> None:
        """Write rows and offsets in one atomic batch (S1)."""
        db = self._opened()
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in rows.items():
            if value is None:
                delete(_ROW + key)
            else:
                put(_ROW + key, value)
        changelog = self._changelog_offset if changelog_offset is None else changelog_offset
        source = self._source_offset if source_offset is None else source_offset
        current = wall_ms() if caught_up or self._written_ms == _NONE else self._written_ms
        put(_OFFSETS, _PACKED.pack(changelog, source, current))
        try:
            db.write(batch, self._write_options)
        except Exception as error:
            raise self._failed("written", error) from error
        self._changelog_offset, self._source_offset, self._written_ms = changelog, source, current

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order, as they are now. Let go of the iterator
        before the store is opened again: it holds the database.
        """
        db = self._opened()
        low = _ROW + start
        high = _AFTER_ROWS if stop is None else _ROW + stop
        found: Any = db.items(backwards=True, from_key=high) if reverse else db.items(from_key=low)
        return _within(found, low, high, reverse=reverse)

    def size(self) -> Size:
        """How much there is, as RocksDB estimates it; what is only in memory counts too."""
        db = self._opened()
        rows, files, buffers = (db.property_int_value(f"rocksdb.{name}") or 0 for name in _SIZES)
        return Size(rows, files + buffers)

    def count(self) -> int:
        """Number of rows; reads them all."""
        return sum(1 for _ in self.scan())

    def clear(self) -> None:
        """Delete all rows and forget the offsets."""
        self._release()
        try:
            Rdict.destroy(str(self.path))
        except Exception as error:
            raise self._failed("cleared", error) from error
        self._open()

    def flush(self) -> None:
        """Bring everything written to disk."""
        try:
            self._opened().flush()
        except Exception as error:
            raise self._failed("flushed", error) from error

    def close(self) -> None:
        """Flush and let go of the directory."""
        if self._db is not None:
            try:
                if not self._read_only:
                    self.flush()
            finally:
                self._release()

    def _open(self) -> None:
        self._changelog_offset = self._source_offset = self._written_ms = _NONE
        try:
            if self._read_only:
                access = AccessType.read_only()
                self._db = Rdict(str(self.path), options=self._options, access_type=access)
            else:
                self.path.mkdir(parents=True, exist_ok=True)
                self._db = Rdict(str(self.path), options=self._options)
        except Exception as error:
            raise self._failed(_OPENED, error) from error
        try:
            self._identify(self._db)
        except BaseException:
            self._release()
            raise
        packed = self._db.get(_OFFSETS)
        if packed is not None:
            offsets = _PACKED.unpack(packed)
            self._changelog_offset, self._source_offset, self._written_ms = offsets

    def _identify(self, db: Rdict) -> None:
        """Refuse what is another's; sign what is new, on disk before anything else."""
        written = db.get(_IDENTITY)
        if written is None:
            if self._read_only or next(iter(db.keys()), None) is not None:
                raise ForeignStateError(f"{self.path} holds a database without a name. {_REMEDY}")
            db.put(_IDENTITY, msgspec.json.encode(self.identity), self._write_options)
            db.flush()
            return
        try:
            found = msgspec.json.decode(written, type=StoreIdentity)
        except msgspec.MsgspecError as error:
            raise ForeignStateError(
                f"{self.path} holds a database that cannot be told whose it is. {_REMEDY}"
            ) from error
        if found.format > FORMAT:
            raise ForeignStateError(
                f"{self.path} has format {found.format}; this version reads up to {FORMAT}. "
                "Upgrade flowstream, or delete the directory to rebuild it from the changelog."
            )
        if found[:3] != self.identity[:3]:
            raise ForeignStateError(
                f"{self.path} belongs to app {found.app!r}, table {found.table!r}, partition "
                f"{found.partition}, not to app {self.identity.app!r}, table "
                f"{self.identity.table!r}, partition {self.identity.partition}. Give each app a "
                "data directory or an id of its own."
            )

    def _opened(self) -> Rdict:
        if self._db is None:
            raise StoreError(f"the store at {self.path} is closed")
        return self._db

    def _release(self) -> None:
        # The lock goes when the last reference does: not even an error's traceback may have one.
        db, self._db = self._db, None
        try:
            if db is not None:
                db.close()
        except Exception as error:
            raise self._failed("closed", error) from error
        finally:
            del db

    def _failed(self, what: str, error: Exception) -> StoreError:
        """rocksdict raises plain Exception with RocksDB's words."""
        if isinstance(error, StoreError):
            return error
        words = str(error)
        if what == _OPENED and "lock" in words.lower():
            return StoreLocked(f"{self.path} is in use by another process ({words})")
        if "No space left" in words:
            return StoreError(
                f"the disk of {self.path} is full ({words}). Free space and start again: nothing "
                "that was committed is lost."
            )
        return StoreError(f"the store at {self.path} cannot be {what}: {words}. {_REMEDY}")


def open_store(path: Path | str, identity: StoreIdentity) -> RocksStore:
    """Open or make the store in directory `path`. Raises ForeignStateError when it is another's
    or of a newer format, StoreLocked when another process has it, else StoreError.
    """
    return RocksStore(Path(path), identity)


def read_store(path: Path | str, identity: StoreIdentity) -> RocksStore:
    """What is on disk of a store, also while a worker has it open: it may be behind, and says by
    its changelog offset how far it is.
    """
    return RocksStore(Path(path), identity, read_only=True)


def _known(offset: int) -> int | None:
    return None if offset == _NONE else offset


def _within(
    found: Iterator[tuple[bytes, bytes]], low: bytes, high: bytes, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    for key, value in found:
        if reverse:
            if key >= high:
                continue
            if key < low:
                return
        elif key >= high:
            return
        yield key[1:], value


@cache
def _block_cache() -> Cache:
    return Cache.new_hyper_clock_cache(CACHE_BYTES, BLOCK_BYTES)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_background_jobs(2)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    options.set_paranoid_checks(True)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(_block_cache())
    blocks.set_bloom_filter(10, False)
    blocks.set_cache_index_and_filter_blocks(True)
    # In parts: whole, those of a file of a million rows are more than a shard of the cache takes,
    # and every read would load them anew.
    blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_metadata_block_size(BLOCK_BYTES)
    blocks.set_pin_top_level_index_and_filter(True)
    options.set_block_based_table_factory(blocks)
    return options
