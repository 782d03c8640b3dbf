"""Leader epochs of a partition: at which offset each began (KIP-101). Values only; the file's text
is `checkpoints`' affair.
"""

from __future__ import annotations

from collections.abc import Iterable

UNDEFINED = -1


class LeaderEpochs:
    """Epochs with their start offsets, both strictly growing."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[tuple[int, int]] = ()) -> None:
        """From the checkpoint's (epoch, start offset) pairs."""
        self.entries = list(entries)

    @property
    def latest(self) -> int:
        """The newest epoch, -1 when there is none."""
        return self.entries[-1][0] if self.entries else UNDEFINED

    def assign(self, epoch: int, start: int) -> bool:
        """`epoch` begins at `start`; whether that is news. Epochs that began at or after `start`
        had no records and go.
        """
        if epoch <= self.latest:
            return False
        while self.entries and self.entries[-1][1] >= start:
            self.entries.pop()
        self.entries.append((epoch, start))
        return True

    def fits(self, epoch: int, offset: int) -> bool:
        """Whether a batch at `offset` may carry `epoch`: the CRC does not cover it (D6)."""
        entries = self.entries
        if not entries:
            return True
        if offset < entries[0][1]:
            return epoch <= entries[0][0]
        at = len(entries) - 1
        while entries[at][1] > offset:
            at -= 1
        return epoch == entries[at][0]

    def begin(self, start: int) -> None:
        """The first epoch begins at `start` already."""
        self.entries[0] = (self.entries[0][0], start)

    def cut_end(self, end: int) -> bool:
        """Forget the epochs that began at or after `end`; whether there were any."""
        kept = [entry for entry in self.entries if entry[1] < end]
        changed = len(kept) != len(self.entries)
        self.entries = kept
        return changed

    def cut_start(self, start: int) -> bool:
        """Forget what lies before the log start: the epoch that `start` is in begins there now;
        whether that changed anything.
        """
        before = [entry for entry in self.entries if entry[1] <= start]
        if not before:
            return False
        kept = [(before[-1][0], start)] + [entry for entry in self.entries if entry[1] > start]
        changed = kept != self.entries
        self.entries = kept
        return changed

    def end_of(self, epoch: int, log_end: int) -> tuple[int, int]:
        """The largest epoch not above `epoch` and its end offset; (-1, -1) when unknown
        (OffsetForLeaderEpoch).
        """
        if epoch == UNDEFINED or epoch > self.latest:
            return UNDEFINED, UNDEFINED
        if epoch == self.latest:
            return epoch, log_end
        found = epoch
        for known, start in self.entries:
            if known > epoch:
                return found, start
            found = known
        raise AssertionError(f"{epoch} is not above {self.latest}")
