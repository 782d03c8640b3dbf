"""The records of an answer that aiokafka's fetcher holds, unpacked in runs.

aiokafka makes them one by one through three calls each, and of a class that takes three times as
long to make. Its version is pinned; tests/transport/test_unpacking.py shows what is relied on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import msgspec
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import KafkaError

from flowstream.errors import WireError
from flowstream.transport.errors import UnreadableRecords
from flowstream.transport.types import Headers, TopicPartition
from flowstream.transport.visible import check_order, first_offset, judged, reread


class Fetched(msgspec.Struct, frozen=True, gc=False):
    """A consumed record. Nothing it holds can refer back to it: the collector need not know it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Unpacking:
    """One partition's answer, for as long as records of it are left. `assignment` is aiokafka's, as
    are `records`, of the bytes `data`.
    """

    def __init__(self, tp: TopicPartition, assignment: Any, records: Any, data: bytes) -> None:
        self.next_fetch_offset: int = records.next_fetch_offset
        """As aiokafka calls the position behind what was taken."""
        self.is_over = False
        begins = [(first, producer) for producer, first in records._aborted_transactions]
        self._tp = tp
        self._data = data
        self._assignment = assignment
        self._batches = judged(records._records, data, begins, f"{tp.topic}-{tp.partition}")
        self._batch_end = self.next_fetch_offset
        self._batch: Any = None
        self._least: int | None = None
        """No record that is left of the batch has a smaller offset."""
        self._left: Iterator[Any] = iter(())

    def has_more(self) -> bool:
        """As `FetchResult.has_more`: whether it may have records."""
        return not self.is_over

    def getall(self, max_records: int) -> list[Fetched]:
        """As `FetchResult.getall`: nothing where the partition was paused or moved since."""
        state = self._assignment.state_value(self._tp) if self._assignment.active else None
        if state is None or state.paused or state.position != self.next_fetch_offset:
            self.is_over = True
            return []
        found = self.take(max_records)
        state.consumed_to(self.next_fetch_offset)
        return found

    def take(self, most: int) -> list[Fetched]:
        """The next records, at most so many; fewer when it is over."""
        found: list[Fetched] = []
        while (wanted := most - len(found)) > 0 and not self.is_over:
            run = self._run(wanted)
            if len(run) < wanted:
                found += self._ahead(run)
                self.next_fetch_offset = self._batch_end
                self._begin_batch()
            else:
                found += self._ahead(run)
                self.next_fetch_offset = max(self.next_fetch_offset, run[-1].offset + 1)
        return found

    def _run(self, most: int) -> list[Fetched]:
        try:
            run = self._taken(most)
        except Exception:  # noqa: BLE001 - aiokafka's decoders raise all kinds
            self._left = self._reread()
            run = self._taken(most)
        if run and self._least is not None:
            try:
                check_order([record.offset for record in run], self._least, self._batch_end)
            except WireError as error:
                raise UnreadableRecords(self._tp, self.next_fetch_offset, error) from error
            self._least = run[-1].offset + 1
        return run

    def _reread(self) -> Iterator[Any]:
        """The batch from the position on, as our own reader reads it."""
        position = self.next_fetch_offset
        try:
            records = reread(self._batch, self._data)
        except WireError as error:
            raise UnreadableRecords(self._tp, position, error) from error
        return iter([record for record in records if record.offset >= position])

    def _taken(self, most: int) -> list[Fetched]:
        topic, partition = self._tp
        return [
            Fetched(
                topic, partition, record.offset, record.timestamp, record.key, record.value,
                tuple(headers) if (headers := record.headers) else (),
            )
            for record in islice(self._left, most)
        ]  # fmt: skip

    def _ahead(self, run: list[Fetched]) -> list[Fetched]:
        """Without what lies before the position: the broker answers with whole batches."""
        position = self.next_fetch_offset
        if run and run[0].offset < position:
            return [record for record in run if record.offset >= position]
        return run

    def _begin_batch(self) -> None:
        """Go on with the next batch of which something is to be seen."""
        try:
            for batch, is_visible in self._batches:
                self._batch_end = batch.next_offset
                if is_visible:
                    self._batch, self._left = batch, chain(batch)
                    self._least = first_offset(batch)
                    return
                self.next_fetch_offset = self._batch_end
        except (WireError, KafkaError) as error:
            raise UnreadableRecords(self._tp, self.next_fetch_offset, error) from error
        self.is_over = True


class Answers(OrderedDict[Any, Any]):
    """The fetcher's answers by partition: each is unpacked in runs from the moment it is there."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes: dict[tuple[str, int], bytes] = {}

    def arrived(self, answer: Any) -> None:
        """A fetch is answered; the fetcher puts what it takes of that here before anything else
        runs. aiokafka keeps the bytes, and shows them to nobody.
        """
        self._bytes = {
            (topic, partition[0]): partition[-1]
            for topic, partitions in answer.topics
            for partition in partitions
            if partition[-1]
        }

    def __setitem__(self, tp: Any, answer: Any) -> None:
        if type(answer) is FetchResult:
            held: Any = answer
            data = self._bytes.pop(tp)
            records = Unpacking(
                TopicPartition(*tp), held._assignment, held._partition_records, data
            )
            held._partition_records = records
            # Nothing refers back: what is over is freed at once, megabytes as it is.
            held.getall, held.has_more = records.getall, records.has_more
        super().__setitem__(tp, answer)
