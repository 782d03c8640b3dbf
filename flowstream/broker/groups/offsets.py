"""Committed offsets, and those that a transaction has not decided yet.

All of it is durable state: it changes only by records and markers, live and on replay. It must not
know members or time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from flowstream.broker.groups.records import OffsetCommitValue, OffsetRecord
from flowstream.broker.types import TopicPartition


class Committed(NamedTuple):
    """A position and its place in the order of commits."""

    value: OffsetCommitValue
    order: int


class GroupPartition(NamedTuple):
    """One partition as one group sees it."""

    group: str
    partition: TopicPartition


class Transaction(NamedTuple):
    """A producer's open transaction in one partition of `__consumer_offsets`: each partition gets
    a marker of its own."""

    offsets_partition: int
    producer_id: int


class Offsets:
    """The committed offsets of all groups of this coordinator."""

    def __init__(self) -> None:
        self._committed: dict[str, dict[TopicPartition, Committed]] = {}
        self._pending: dict[Transaction, dict[GroupPartition, Committed]] = {}
        self._unstable: dict[str, dict[TopicPartition, int]] = {}
        """How many open transactions have a commit for a partition, by group (KIP-447)."""
        self._order = 0

    def of(self, group: str) -> dict[TopicPartition, OffsetCommitValue]:
        """All offsets of a group; empty when there is none."""
        found = self._committed.get(group)
        return {} if found is None else {key: each.value for key, each in found.items()}

    def find(self, group: str, partition: TopicPartition) -> OffsetCommitValue | None:
        """The group's offset in one partition."""
        found = self._committed.get(group)
        committed = None if found is None else found.get(partition)
        return None if committed is None else committed.value

    def is_unstable(self, group: str, partition: TopicPartition) -> bool:
        """Whether an open transaction has committed an offset here: its outcome decides what is
        true (KIP-447)."""
        unstable = self._unstable.get(group)
        return unstable is not None and partition in unstable

    def unstable(self, group: str) -> list[TopicPartition]:
        """The partitions of a group that open transactions have committed to."""
        return list(self._unstable.get(group, ()))

    def among(
        self, group: str, partitions: Mapping[TopicPartition, None]
    ) -> Sequence[TopicPartition]:
        """Those of `partitions` where the group has an offset, decided or not."""
        found = [each[group].keys() for each in (self._committed, self._unstable) if group in each]
        hit = {each for keys in found for each in keys & partitions.keys()}
        return [each for each in partitions if each in hit] if hit else ()

    def groups(self) -> Iterator[str]:
        """Every group that has an offset, decided or not, once."""
        yield from self._committed
        for group in self._unstable:
            if group not in self._committed:
                yield group

    def apply(self, record: OffsetRecord) -> None:
        """Take a commit, or forget an offset: then also what open transactions have for it."""
        group = record.key.group
        partition = TopicPartition(record.key.topic, record.key.partition)
        if record.value is not None:
            self._put(group, partition, Committed(record.value, self._next()))
            return
        found = self._committed.get(group)
        if found is not None:
            found.pop(partition, None)
            if not found:
                del self._committed[group]
        if self.is_unstable(group, partition):
            for transaction in list(self._pending):
                self._drop(transaction, GroupPartition(group, partition))

    def apply_transactional(self, transaction: Transaction, record: OffsetRecord) -> None:
        """Keep a commit aside until the transaction's marker comes."""
        assert record.value is not None, "a transaction deletes no offset"
        key = GroupPartition(
            record.key.group, TopicPartition(record.key.topic, record.key.partition)
        )
        pending = self._pending.setdefault(transaction, {})
        if key not in pending:
            unstable = self._unstable.setdefault(key.group, {})
            unstable[key.partition] = unstable.get(key.partition, 0) + 1
        pending[key] = Committed(record.value, self._next())

    def apply_marker(self, transaction: Transaction, commit: bool) -> None:
        """The transaction is decided. A plain commit made after the transactional one stays (last
        in the log wins)."""
        for key, committed in list(self._pending.get(transaction, {}).items()):
            self._drop(transaction, key)
            if commit:
                self._put(key.group, key.partition, committed)

    def _put(self, group: str, partition: TopicPartition, committed: Committed) -> None:
        offsets = self._committed.setdefault(group, {})
        present = offsets.get(partition)
        if present is None or present.order < committed.order:
            offsets[partition] = committed

    def _drop(self, transaction: Transaction, key: GroupPartition) -> None:
        pending = self._pending[transaction]
        if pending.pop(key, None) is None:
            return
        if not pending:
            del self._pending[transaction]
        unstable = self._unstable[key.group]
        unstable[key.partition] -= 1
        if not unstable[key.partition]:
            del unstable[key.partition]
            if not unstable:
                del self._unstable[key.group]

    def _next(self) -> int:
        self._order += 1
        return self._order

    def durable(self) -> object:
        """All of it as one comparable value, for `replay(records) == durable(live state)`."""
        committed = {group: self.of(group) for group in self._committed}
        pending = {
            transaction: {key: each.value for key, each in offsets.items()}
            for transaction, offsets in self._pending.items()
        }
        return committed, pending
