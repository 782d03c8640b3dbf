"""Batches with records left out: what stays is what was, whatever the codec and timestamps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.errors import WireError
from flowstream.wire.batch import (
    NewRecord,
    body_of,
    check_crc,
    decode_records,
    encode_batch,
    encode_control_batch,
    read_header,
)
from flowstream.wire.batch_filter import spans, with_records, without_records
from flowstream.wire.batch_header import HEADER_SIZE, seal

TIMES = st.integers(0, 1 << 42)
BYTES = st.none() | st.binary(max_size=200)
HEADERS = st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2)
RECORDS = st.lists(st.tuples(TIMES, BYTES, BYTES, HEADERS), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    RECORDS,
    st.data(),
    st.sampled_from([0, 1, 2, 3, 4]),
    st.none() | TIMES,
    st.none() | TIMES,
)
def test_what_is_kept_is_unchanged(
    records: list[NewRecord],
    data: st.DataObject,
    codec: int,
    horizon: int | None,
    append_time: int | None,
) -> None:
    batch = encode_batch(
        records,
        base_offset=1000,
        last_offset=1000 + len(records) + 2,
        codec=codec,
        producer_id=5,
        producer_epoch=2,
        base_sequence=77,
        transactional=True,
        leader_epoch=3,
        log_append_time=append_time,
    )
    header = read_header(batch)
    body = body_of(batch, header)
    found = list(spans(body, header))
    before = decode_records(batch)
    assert [(s.offset, s.timestamp, s.key) for s in found] == [
        (r.offset, r.timestamp, r.key) for r in before
    ]
    assert [s.has_value for s in found] == [r.value is not None for r in before]
    places = sorted(data.draw(st.sets(st.sampled_from(range(len(records))), min_size=1)))
    kept = with_records(header, body, [found[at] for at in places], horizon)
    after = read_header(kept)
    assert check_crc(kept, after)
    assert decode_records(kept) == [before[at] for at in places]
    assert (after.base_offset, after.last_offset) == (header.base_offset, header.last_offset)
    assert (after.base_sequence, after.last_sequence) == (77, header.last_sequence)
    assert after.max_timestamp == max(before[at].timestamp for at in places)
    assert (after.leader_epoch, after.codec, after.is_transactional) == (3, codec, True)
    assert after.has_delete_horizon == (horizon is not None)
    if horizon is not None:
        assert after.base_timestamp == horizon


def test_the_bare_header_keeps_offsets_sequences_and_epochs() -> None:
    records: list[NewRecord] = [(5, b"k", b"v", ()), (7, b"k", b"v", ())]
    batch = encode_batch(
        records, base_offset=9, codec=1, producer_id=5, producer_epoch=2, base_sequence=4,
        transactional=True, leader_epoch=6,
    )  # fmt: skip
    header = read_header(batch)
    empty = without_records(header)
    after = read_header(empty)
    assert len(empty) == HEADER_SIZE
    assert check_crc(empty, after)
    assert (after.base_offset, after.last_offset, after.count) == (9, 10, 0)
    assert (after.base_sequence, after.last_sequence, after.leader_epoch) == (4, 5, 6)
    assert (after.base_timestamp, after.max_timestamp, after.codec) == (-1, 7, 0)
    assert decode_records(empty) == []


def test_a_marker_gets_its_horizon_and_keeps_what_it_says() -> None:
    marker = encode_control_batch(
        commit=False, base_offset=3, producer_id=5, producer_epoch=2, coordinator_epoch=8,
        timestamp=100, leader_epoch=0,
    )  # fmt: skip
    header = read_header(marker)
    body = body_of(marker, header)
    kept = with_records(header, body, list(spans(body, header)), 999)
    assert read_header(kept).is_control
    assert decode_records(kept) == decode_records(marker)


def test_X3_a_body_that_lies_is_an_error_wherever_it_lies() -> None:
    records: list[NewRecord] = [(5, b"key", b"value", ()), (7, b"k2", None, ())]
    good = encode_batch(records)
    header = read_header(good)
    for position in range(HEADER_SIZE, len(good)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            batch = bytearray(good)
            batch[position] = value
            seal(batch, 0, len(batch))
            try:
                found = list(spans(body_of(batch, header), header))
            except WireError:
                continue
            assert all(0 <= s.start < s.tail < s.end <= len(good) - HEADER_SIZE for s in found)
            assert all(0 <= s.offset <= 1 for s in found)
    with pytest.raises(WireError, match="after the last record"):
        list(spans(body_of(good, header) + b"x", header))
