"""Runs of fetched records: aiokafka's own unpacking of the same bytes is the oracle."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition as ForeignPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.transport.errors import UnreadableRecords
from flowstream.transport.types import TopicPartition
from flowstream.transport.unpacking import Answers, Fetched, Unpacking
from flowstream.wire.batch import encode_batch, encode_control_batch
from tests.transport.batches_by_hand import LATIN_READ, bomb, latin, lying, misplaced

TP = TopicPartition("t", 3)
NOBODY = None
"""An assignment that nothing is asked of."""
READ_COMMITTED = 1
PRODUCERS = 3


@dataclass(frozen=True)
class Answer:
    """Bytes of a fetch's answer with the aborted transactions in them, (producer, first offset)."""

    data: bytes
    aborted: list[tuple[int, int]]
    end: int

    def foreign(self, start: int) -> PartitionRecords:
        """As aiokafka holds it."""
        records = MemoryRecords(self.data)
        tp = ForeignPartition(*TP)
        return PartitionRecords(
            tp, records, list(self.aborted), start, None, None, True, READ_COMMITTED
        )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Plain batches, transactions that commit or abort, gaps that compaction left."""
    data, at, begun = b"", draw(st.integers(0, 5)), dict[int, int]()
    aborted: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(0, 12))):
        producer = draw(st.integers(-1, PRODUCERS - 1))
        if producer in begun and draw(st.booleans()):
            commits = draw(st.booleans())
            if not commits:
                aborted.append((producer, begun[producer]))
            del begun[producer]
            data += encode_control_batch(
                commits, base_offset=at, producer_id=producer, producer_epoch=0,
                coordinator_epoch=0, timestamp=1, leader_epoch=0,
            )  # fmt: skip
            at += 1
            continue
        count = draw(st.integers(1, 4))
        headers = (("h", b"1"),) if draw(st.booleans()) else ()
        records = [(7 + n, b"k%d" % n, None if n == 2 else b"v", headers) for n in range(count)]
        gap = draw(st.integers(0, 2))
        data += encode_batch(
            records,
            base_offset=at,
            last_offset=at + count - 1 + gap,
            codec=draw(st.sampled_from((0, 1))),
            producer_id=producer,
            producer_epoch=0 if producer >= 0 else -1,
            base_sequence=0 if producer >= 0 else -1,
            transactional=producer >= 0,
        )
        if producer >= 0:
            begun.setdefault(producer, at)
        at += count + gap
    return Answer(data, aborted, at)


def ours_of(answer: Answer, start: int) -> Unpacking:
    """Our unpacking of an answer."""
    return Unpacking(TP, NOBODY, answer.foreign(start), answer.data)


def seen(record: Any) -> tuple[object, ...]:
    """What processing takes of a record."""
    place = (record.topic, record.partition, record.offset, record.timestamp)
    return (*place, record.key, record.value, tuple(record.headers))


@given(answers(), st.data())
@settings(max_examples=300, deadline=None)
def test_T6_runs_are_what_aiokafka_gives_one_by_one(answer: Answer, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, answer.end))
    theirs, ours = answer.foreign(start), ours_of(answer, start)
    while not ours.is_over:
        most = data.draw(st.integers(1, 6))
        run = ours.take(most)
        expected = [seen(record) for _, record in zip(range(len(run)), theirs, strict=False)]
        assert [seen(record) for record in run] == expected
        if len(run) == most:
            assert ours.next_fetch_offset == run[-1].offset + 1
        else:
            assert ours.is_over
    assert next(theirs, None) is None
    assert ours.next_fetch_offset == theirs.next_fetch_offset
    assert ours.take(5) == []


def test_records_of_an_older_format() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 16)
    for number in range(3):
        builder.append(number, timestamp=9, key=b"k", value=b"%d" % number)
    found = ours_of(Answer(bytes(builder.build()), [], 3), 1).take(10)
    assert found == [Fetched("t", 3, 1, 9, b"k", b"1"), Fetched("t", 3, 2, 9, b"k", b"2")]


def test_what_was_damaged_on_its_way_is_told() -> None:
    whole = encode_batch([(1, None, b"a", ())])
    damaged = encode_batch([(1, None, b"b", ())], base_offset=1)
    damaged[-1] ^= 0xFF
    records = ours_of(Answer(bytes(whole + damaged), [], 2), 0)
    with pytest.raises(UnreadableRecords, match="t-3: the batch before 2 does not match its CRC"):
        records.take(5)


@pytest.mark.parametrize("codec", range(5))
@pytest.mark.parametrize("most", [1, 2, 5, 9])
def test_S11_a_header_key_that_is_no_UTF8_is_read_as_Kafka_reads_it(codec: int, most: int) -> None:
    """aiokafka refuses it: one such record of a foreign producer ended every worker, for good."""
    before = encode_batch([(1, None, b"-", ())] * 2)
    answer = Answer(bytes(before) + latin(codec, base_offset=2), [], 5)
    records, found = ours_of(answer, 1), list[Fetched]()
    while not records.is_over:
        found += records.take(most)
    assert [(record.offset, record.value) for record in found] == [
        (1, b"-"), (2, b"a"), (3, b"b"), (4, b"c"),
    ]  # fmt: skip
    assert [record.headers for record in found] == [(), (), ((LATIN_READ, b"1"),), ()]
    assert records.next_fetch_offset == 5


def test_D7_what_nobody_can_read_is_told_with_its_place_and_not_passed() -> None:
    whole = encode_batch([(1, None, b"a", ())])
    records = ours_of(Answer(bytes(whole) + lying(base_offset=1), [], 2), 0)
    with pytest.raises(UnreadableRecords, match="t-3 cannot be read from offset 1 on: a record"):
        records.take(5)
    assert records.next_fetch_offset == 1


@pytest.mark.parametrize("deltas", [(0, 5), (0, 0), (1, 0), (1, 2), (-3, 1), (0, 2, 1), (0, 9, 2)])
@pytest.mark.parametrize("most", [1, 10])
def test_S11_offsets_outside_their_batch_are_told_and_not_followed(
    deltas: tuple[int, ...], most: int
) -> None:
    """The position went behind what other producers wrote, and a commit there skipped it."""
    good = bytes(encode_batch([(1, b"k", b"v", ())]))
    data = good + misplaced(*deltas, base_offset=1)
    unpacking = Unpacking(TP, NOBODY, Answer(data, [], 9).foreign(0), data)
    with pytest.raises(UnreadableRecords, match=r"t-3 cannot be read from offset . on: the off"):
        _ = [unpacking.take(most) for _ in range(len(deltas) + 1)]
    assert unpacking.next_fetch_offset <= 1 + len(deltas)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_X3_a_batch_that_expands_too_far_is_told_with_its_place(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty KiB took a gigabyte and a half of the worker that met them, and it met them again."""
    monkeypatch.setattr("flowstream.transport.visible.MOST_EXPANDED", 1 << 20)
    good = bytes(encode_batch([(1, b"k", b"v", ())]))
    data = good + bomb(codec, 1 << 20, base_offset=1)
    unpacking = Unpacking(TP, NOBODY, Answer(data, [], 2).foreign(0), data)
    assert [record.offset for record in unpacking.take(1)] == [0]
    with pytest.raises(
        UnreadableRecords, match=r"t-3 cannot be read from offset 1 on: .* (at most|more than) "
    ):
        unpacking.take(1)


def held(assignment: Assignment, start: int) -> tuple[FetchResult, Answers]:
    """An answer of ten records as the fetcher puts it."""
    data = encode_batch([(1, None, b"%d" % n, ()) for n in range(10)])
    records = Answer(bytes(data), [], 10).foreign(start)
    foreign = ForeignPartition(*TP)
    answer = FetchResult(foreign, assignment=assignment, partition_records=records, backoff=0)
    answers = Answers()
    answers.arrived(SimpleNamespace(topics=[(TP.topic, [(TP.partition, bytes(data))])]))
    answers[foreign] = answer
    return answer, answers


async def test_an_answer_is_taken_in_runs_and_moves_the_position() -> None:
    assignment = Assignment([ForeignPartition(*TP)])
    state = assignment.state_value(ForeignPartition(*TP))
    state.seek(2)
    answer, answers = held(assignment, 2)
    assert answers[TP] is answer
    assert [record.offset for record in answer.getall(5)] == [2, 3, 4, 5, 6]
    assert state.position == 7
    assert answer.has_more()
    assert [record.offset for record in answer.getall(5)] == [7, 8, 9]
    assert (state.position, answer.has_more()) == (10, False)
    assert answer.getall(5) == []


async def test_what_was_fetched_before_a_seek_or_a_pause_is_not_given() -> None:
    assignment = Assignment([ForeignPartition(*TP)])
    state = assignment.state_value(ForeignPartition(*TP))
    state.seek(0)
    answer, _ = held(assignment, 0)
    assert len(answer.getall(1)) == 1
    state.seek(5)
    assert answer.getall(5) == []
    assert (state.position, answer.has_more()) == (5, False)
    answer, _ = held(assignment, 5)
    state.pause()
    assert answer.getall(5) == []
    assert state.position == 5


async def test_an_answer_is_freed_with_its_last_record() -> None:
    assignment = Assignment([ForeignPartition(*TP)])
    assignment.state_value(ForeignPartition(*TP)).seek(0)
    gc.disable()
    try:
        answer, answers = held(assignment, 0)
        records = weakref.ref(answer._partition_records)
        assert len(answer.getall(11)) == 10
        assert not answer.has_more()
        del answers, answer
        assert records() is None, "a megabyte would wait for the collector"
    finally:
        gc.enable()
