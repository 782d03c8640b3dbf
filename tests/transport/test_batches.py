"""Batches hold what was appended, in order, under the producer they are sealed for."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.transport.batches import RecordBuffer
from flowstream.transport.types import TopicPartition
from flowstream.wire.batch import check_crc, decode_records, read_header

BYTES = st.none() | st.binary(max_size=60)
HEADERS = st.lists(st.tuples(st.text(max_size=4), BYTES), max_size=2)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2).map(lambda n: TopicPartition("t", n)),
        BYTES,
        BYTES,
        st.integers(0, 2**41),
        HEADERS,
    ),
    max_size=60,
)


@given(RECORDS, st.integers(100, 600), st.booleans(), st.sampled_from([0, 1, 2, 3, 4]))
@settings(max_examples=150, deadline=None)
def test_what_goes_in_comes_out(
    records: list[tuple[TopicPartition, bytes | None, bytes | None, int, list[tuple[str, bytes]]]],
    max_bytes: int,
    transactional: bool,
    codec: int,
) -> None:
    buffer = RecordBuffer(max_bytes, transactional=transactional, compression=codec)
    assert not buffer
    for record in records:
        buffer.append(*record)
    assert bool(buffer) == bool(records)
    assert (buffer.size_bytes > 0) == bool(records)
    taken = buffer.take()
    assert not buffer
    assert buffer.take() == {}
    assert set(taken) == {record[0] for record in records}
    for tp, batches in taken.items():
        found = []
        for batch in batches:
            sealed = batch.seal(12, 3, 40)
            header = read_header(sealed.data)
            assert check_crc(memoryview(sealed.data), header)
            assert (header.producer_id, header.producer_epoch, header.base_sequence) == (12, 3, 40)
            assert header.is_transactional is transactional
            assert header.count == sealed.records == batch.records
            found += decode_records(sealed.data)
        wanted = [record[1:] for record in records if record[0] == tp]
        assert [(r.key, r.value, r.timestamp, list(r.headers)) for r in found] == [
            (key, value, stamp, headers) for key, value, stamp, headers in wanted
        ]


def test_a_record_larger_than_a_batch_gets_its_own() -> None:
    buffer = RecordBuffer(200)
    tp = TopicPartition("t", 0)
    for size in (10, 5_000, 10, 10):
        buffer.append(tp, None, bytes(size), 1)
    counts = [batch.records for batch in buffer.take()[tp]]
    assert counts == [1, 1, 2]


def test_P1_a_record_that_cannot_be_encoded_leaves_no_batch_without_records() -> None:
    """A broker refuses such a batch, and the producer went on in another epoch."""
    buffer, tp = RecordBuffer(transactional=False), TopicPartition("t", 0)
    with pytest.raises(TypeError):
        buffer.append(tp, b"key", cast("bytes", "text"), 1)
    assert buffer.take() == {}
    assert not buffer
