"""Exchanging segments for the one that compaction made of them, so that a crash anywhere leaves the
old ones or the new one: `.cleaned` -> `.swap` -> final, as in Kafka.

A `.log.swap` file says that the new segment is whole and durable; until it has its final name, an
opening finishes the exchange. Indexes of an exchange that was cut short are rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowstream.broker.doors import Append, Flush, Operation, Remove, Rename, Storage, Truncate
from flowstream.broker.log import names
from flowstream.broker.log.aborted import encode_aborted
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.scanning import headers
from flowstream.broker.log.segment import Segment
from flowstream.broker.log.state import LogState
from flowstream.broker.types import Instant

INDEXES = (names.INDEX, names.TIMEINDEX, names.TXNINDEX)


class CleanedSegment(Segment):
    """What compaction makes of some segments. It is written as `.cleaned`; from the exchange on it
    is read under whichever name it has, until `settle` says that the exchange is on the disk.
    """

    __slots__ = ("_path", "settled")

    def __init__(
        self,
        storage: Storage,
        directory: str,
        base_offset: int,
        created: Instant,
        config: LogConfig,
    ) -> None:
        """An empty one; nothing of it is on the disk."""
        self.settled = False
        super().__init__(storage, directory, base_offset, created, config)

    @property
    def path(self) -> str:
        """Where its batches are now."""
        if not self.settled and self.storage.size(self.cleaned(names.LOG)) is not None:
            return self.cleaned(names.LOG)
        return self._path

    @path.setter
    def path(self, path: str) -> None:
        self._path = path

    def cleaned(self, suffix: str) -> str:
        """Path of one of its files while it is being made."""
        return self.file(suffix) + names.CLEANED

    def begin(self) -> list[Operation]:
        """Forget what an earlier attempt left of the files."""
        leftovers = (self.cleaned(suffix) for suffix in (names.LOG, *INDEXES))
        return [Truncate(path, 0) for path in leftovers if self.storage.size(path) is not None]

    def write_cleaned_indexes(self) -> list[Operation]:
        """Write the index files under their temporary names; they become durable like any other."""
        self.close()
        index, times = self.index.entries.resident, self.times.entries.resident
        assert index is not None, f"{self._path}: written twice"
        assert times is not None, f"{self._path}: written twice"
        contents = {names.INDEX: bytes(index), names.TIMEINDEX: bytes(times)}
        if self.aborted:
            contents[names.TXNINDEX] = encode_aborted(self.aborted)
        return [Append(self.cleaned(suffix), (data,)) for suffix, data in contents.items()]

    def abandon(self) -> list[Operation]:
        """Remove what was made of it."""
        return [Remove(self.cleaned(suffix)) for suffix in (names.LOG, *INDEXES)]

    def settle(self) -> None:
        """The exchange was performed: the files have their final names."""
        self.settled = True
        self.release()


def exchange(log: LogState, old: Sequence[Segment], cleaned: CleanedSegment) -> list[Operation]:
    """Put `cleaned` in the place of `old`, in memory at once and on the disk by the operations.

    Its files were written in earlier turns. Reads of this turn find them under either name.
    """
    at = log.segments.index(old[0])
    assert log.segments[at : at + len(old)] == list(old), f"{log.name}: segments changed"
    written = (
        names.LOG,
        names.INDEX,
        names.TIMEINDEX,
        *((names.TXNINDEX,) * bool(cleaned.aborted)),
    )
    operations: list[Operation] = [Flush(cleaned.cleaned(suffix)) for suffix in written]
    swap = cleaned.file(names.LOG) + names.SWAP
    operations.append(Rename(cleaned.cleaned(names.LOG), swap))
    operations += [Remove(old[0].file(suffix)) for suffix in INDEXES]
    for segment in old[1:]:
        operations += [Remove(segment.file(suffix)) for suffix in names.SEGMENT_SUFFIXES]
    operations += [Rename(cleaned.cleaned(suffix), cleaned.file(suffix)) for suffix in written[1:]]
    operations.append(Rename(swap, cleaned.file(names.LOG)))
    cleaned.on_disk = True
    cleaned.closed_size = cleaned.size
    log.segments[at : at + len(old)] = [cleaned]
    log.cursors.clear()
    return operations


def finish_swaps(storage: Storage, directory: str) -> list[Operation]:
    """Finish what a crash interrupted while segments were being exchanged: to be performed before
    the log is opened.

    A `.swap` that lies beyond a `.cleaned` file is part of a split that Kafka did not finish: it
    goes.
    """
    entries = storage.names(directory)
    swaps = [name for name in entries if name.endswith(names.SWAP)]
    if not swaps:
        return []
    bases = _whole_swaps(entries)
    first, end = min(bases, default=0), 0
    for base in bases:
        path = names.file_path(directory, base, names.LOG + names.SWAP)
        end = max(end, base + 1, _end_of_file(storage, path, base))
    operations: list[Operation] = []
    for suffix in (*INDEXES, names.LOG):
        for base in _bases(entries, suffix):
            replaced = suffix == names.LOG and base in bases
            if first <= base < end and not replaced:
                operations.append(Remove(names.file_path(directory, base, suffix)))
    # The `.log` last: as long as it is there the rest can be done again.
    for name in sorted(swaps, key=lambda name: name.endswith(names.LOG + names.SWAP)):
        path = f"{directory}/{name}"
        whole = name[:20].isdigit() and int(name[:20]) in bases
        final = path.removesuffix(names.SWAP)
        operations.append(Rename(path, final) if whole else Remove(path))
    return operations


def _whole_swaps(entries: Sequence[str]) -> set[int]:
    """Base offsets of the segments whose exchange was decided."""
    unfinished = min(_bases(entries, names.LOG + names.CLEANED), default=None)
    return {
        base
        for base in _bases(entries, names.LOG + names.SWAP)
        if unfinished is None or base < unfinished
    }


def _bases(entries: Sequence[str], suffix: str) -> list[int]:
    found = (names.offset_of(name, suffix) for name in entries)
    return [base for base in found if base is not None]


def _end_of_file(storage: Storage, path: str, base: int) -> int:
    end = base
    for _, header in headers(storage, path, 0, storage.size(path) or 0):
        end = header.last_offset + 1
    return end
