"""Record batches: against kafka-python's and aiokafka's builders, and against what Kafka wrote."""

from __future__ import annotations

import tarfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.errors import WireError
from flowstream.wire import batch
from flowstream.wire.batch import Record, read_header

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from aiokafka.record.default_records import DefaultRecordBatch as AiokafkaBatch
    from aiokafka.record.default_records import DefaultRecordBatchBuilder as AiokafkaBuilder
    from kafka.record.default_records import DefaultRecordBatch as KafkaPythonBatch
    from kafka.record.default_records import DefaultRecordBatchBuilder as KafkaPythonBuilder

GOLDEN = Path(__file__).parents[1] / "data" / "kafka-4.3.1-clean.tar.gz"
exact = settings(max_examples=60, deadline=None, derandomize=True, database=None)

maybe_bytes = st.none() | st.binary(max_size=200)
records = st.lists(
    st.tuples(
        st.integers(0, 1 << 50),
        maybe_bytes,
        maybe_bytes,
        st.lists(st.tuples(st.text(max_size=5), maybe_bytes), max_size=3),
    ),
    min_size=1,
    max_size=8,
)


def golden() -> Iterator[tuple[str, bytes]]:
    with tarfile.open(GOLDEN) as archive:
        for member in archive:
            if member.name.endswith(".log"):
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()


@exact
@given(records, st.integers(-1, 1 << 40), st.booleans())
@pytest.mark.parametrize(("builder", "epoch"), [(KafkaPythonBuilder, 0), (AiokafkaBuilder, -1)])
def test_builders_write_the_same_bytes(
    builder: Any, epoch: int, values: list[Any], producer: int, transactional: bool
) -> None:
    theirs = builder(2, 0, transactional, producer, 3, 7, 1 << 20)
    for offset, (timestamp, key, value, headers) in enumerate(values):
        theirs.append(offset, timestamp, key, value, headers)
    ours = batch.encode_batch(
        values,
        producer_id=producer,
        producer_epoch=3,
        base_sequence=7,
        transactional=transactional,
        leader_epoch=epoch,
    )
    assert ours == bytes(theirs.build())


@exact
@given(records, st.integers(0, 4))
def test_records_survive_every_codec_and_aiokafka_reads_them(values: list[Any], codec: int) -> None:
    raw = bytes(batch.encode_batch(values, base_offset=1000, codec=codec))
    read = batch.decode_records(raw)
    assert [(r.timestamp, r.key, r.value, list(r.headers)) for r in read] == values
    assert [r.offset for r in read] == list(range(1000, 1000 + len(values)))
    theirs = AiokafkaBatch(bytearray(raw))
    assert theirs.validate_crc()
    assert [(r.timestamp, r.key, r.value, list(r.headers)) for r in theirs] == values


@exact
@given(records, st.sampled_from([0, 1]))
def test_kafka_python_reads_ours(values: list[Any], codec: int) -> None:
    theirs = KafkaPythonBatch(batch.encode_batch(values, codec=codec))
    assert theirs.validate_crc()
    assert [(r.timestamp, r.key, r.value, list(r.headers)) for r in theirs] == values


def rewritten(header: batch.BatchHeader, read: list[Record]) -> bytearray:
    return batch.encode_batch(
        [(r.timestamp, r.key, r.value, r.headers) for r in read],
        base_offset=header.base_offset,
        offsets=[r.offset for r in read],
        last_offset=header.last_offset,
        codec=header.codec,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        transactional=header.is_transactional,
        control=header.is_control,
        leader_epoch=header.leader_epoch,
        delete_horizon=header.base_timestamp if header.has_delete_horizon else None,
        max_timestamp=header.max_timestamp,
    )


def test_golden_logs_are_read_and_written_back() -> None:
    """Uncompressed batches come back byte for byte: compacted, empty and control ones too."""
    batches = compressed = 0
    for name, raw in golden():
        end = 0
        for position, header in batch.iter_batches(raw):
            assert batch.check_crc(raw, header, position), name
            end = position + header.size
            read = batch.decode_records(raw[position:end])
            batches += 1
            if header.is_log_append_time:
                assert {r.timestamp for r in read} == {header.max_timestamp}
            elif header.codec:
                compressed += 1
                assert batch.decode_records(bytes(rewritten(header, read))) == read
            else:
                assert rewritten(header, read) == raw[position:end], (name, position)
        assert end == len(raw), name
    assert batches == 401
    assert compressed >= 4


def test_golden_markers_are_written_back() -> None:
    markers = 0
    for name, raw in golden():
        for position, header in batch.iter_batches(raw):
            if not header.is_control or not header.is_transactional:
                continue
            whole = raw[position : position + header.size]
            marker = batch.decode_control(batch.decode_records(whole)[0])
            again = batch.encode_control_batch(
                marker.commit,
                base_offset=header.base_offset,
                producer_id=header.producer_id,
                producer_epoch=header.producer_epoch,
                coordinator_epoch=marker.coordinator_epoch,
                timestamp=header.max_timestamp,
                leader_epoch=header.leader_epoch,
            )
            markers += 1
            if not header.has_delete_horizon:
                assert again == whole, name
    assert markers > 10


def sample(**options: Any) -> bytearray:
    return batch.encode_batch([(5, b"k", b"v", ()), (7, None, None, [("h", None)])], **options)


def test_patch_leaves_the_crc_valid() -> None:
    raw = sample()
    batch.patch(raw, 123, 4)
    header = read_header(raw)
    assert (header.base_offset, header.leader_epoch, header.last_offset) == (123, 4, 124)
    assert batch.check_crc(raw, header)


def test_restamp_gives_the_brokers_time_and_a_new_crc() -> None:
    raw = sample()
    batch.restamp(raw, 99)
    header = read_header(raw)
    assert header.is_log_append_time
    assert batch.check_crc(raw, header)
    assert [r.timestamp for r in batch.decode_records(raw)] == [99, 99]


def test_sequences_wrap_to_zero() -> None:
    header = read_header(sample(producer_id=1, producer_epoch=0, base_sequence=(1 << 31) - 1))
    assert header.last_sequence == 0
    assert read_header(sample()).last_sequence == -1


def test_an_incomplete_tail_is_left_out() -> None:
    raw = bytes(sample() + sample(base_offset=2))
    half = len(raw) // 2
    for cut in range(len(raw) + 1):
        found = [position for position, _ in batch.iter_batches(raw[:cut])]
        assert found == [0, half][: cut // half]


@exact
@given(records, st.integers(0, 4))
def test_keyless_records_are_found_without_decoding(values: list[Any], codec: int) -> None:
    raw = bytes(batch.encode_batch(values, codec=codec))
    expected = [place for place, value in enumerate(values) if value[1] is None]
    assert keyless(raw) == expected


@exact
@given(records, st.sampled_from([0, 1, 4]), st.booleans(), st.data())
def test_the_first_record_since_a_time_is_found_without_decoding(
    values: list[Any], codec: int, stamped: bool, data: st.DataObject
) -> None:
    raw = bytearray(batch.encode_batch(values, codec=codec, base_offset=1000))
    if stamped:
        batch.restamp(raw, 50, 0)
    header, decoded = read_header(raw), batch.decode_records(raw)
    timestamp = data.draw(st.sampled_from([r.timestamp for r in decoded] or [0]))
    timestamp += data.draw(st.integers(-1, 1))
    least = data.draw(st.integers(990, 1000 + len(values)))
    expected = [
        (r.timestamp, r.offset) for r in decoded if r.timestamp >= timestamp and r.offset >= least
    ]
    body = batch.body_of(raw, header)
    assert batch.first_since(body, header, timestamp, least) == next(iter(expected), None)


@exact
@given(records, st.data())
def test_X4_a_damaged_body_has_a_first_record_or_wire_error(
    values: list[Any], data: st.DataObject
) -> None:
    raw = batch.encode_batch(values)
    raw[data.draw(st.integers(61, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    header = read_header(raw)
    with suppress(WireError):
        batch.first_since(batch.body_of(raw, header), header, data.draw(st.integers(0, 99)), 0)


def keyless(raw: bytes | bytearray) -> list[int]:
    header = read_header(raw)
    return batch.keyless_in(batch.body_of(raw, header), header.count)


@exact
@given(records, st.data())
def test_X4_a_damaged_body_has_keyless_records_or_wire_error(
    values: list[Any], data: st.DataObject
) -> None:
    raw = batch.encode_batch(values)
    raw[data.draw(st.integers(61, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = keyless(raw)
    except WireError:
        return
    assert set(found) <= set(range(len(values)))


def test_D6_any_changed_byte_under_the_crc_is_seen() -> None:
    raw = sample()
    for at in range(17, len(raw)):
        raw[at] ^= 0x10
        assert not batch.check_crc(raw, read_header(raw))
        raw[at] ^= 0x10
    assert batch.check_crc(raw, read_header(raw))


def sample_length() -> int:
    return sample()[61]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (16, b"\1"),  # magic
        (8, b"\0\0\0\x30"),  # length below the header
        (57, b"\x7f\xff\xff\xff"),  # count
        (57, b"\xff\xff\xff\xff"),
        (57, b"\0\0\0\1"),
        (57, b"\0\0\0\3"),
        (23, b"\0\0\0\0"),  # last offset delta below a record's
        (22, b"\5"),  # no such codec
        (22, b"\4"),  # not zstd
        (61, b"\x7f"),  # record length
        (61, bytes([sample_length() | 1])),  # the right one, but negative
        (61, b"\xff\xff\xff\xff\xff\xff"),
        (65, b"\xff\xff\xff\xff\x0f"),  # key length
    ],
)
def test_a_lying_batch_is_refused(at: int, value: bytes) -> None:
    raw = sample()
    raw[at : at + len(value)] = value
    with pytest.raises(WireError):
        batch.decode_records(raw)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(records, st.data())
def test_X4_a_damaged_body_gives_records_or_wire_error(values: list[Any], data: Any) -> None:
    raw = batch.encode_batch(values, codec=data.draw(st.integers(0, 4)))
    at = data.draw(st.integers(21, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        batch.decode_records(raw, max_decompressed=1 << 20)
    except WireError:
        pass


def test_control_records_of_other_kinds_are_refused() -> None:
    for key in (None, b"", b"\0\0\0\2", b"\0"):
        with pytest.raises(WireError):
            batch.decode_control(Record(0, 0, key, b"\0\0\0\0\0\1"))


def test_values_that_do_not_fit_are_wire_errors() -> None:
    with pytest.raises(WireError):
        sample(producer_epoch=1 << 15)
    with pytest.raises(WireError):
        batch.encode_batch([(0, b"", b"", ())] * 2, offsets=[0, 1 << 31])
    with pytest.raises(WireError):
        read_header(b"\0" * 60)
