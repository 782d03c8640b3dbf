"""Which batches may enter, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstream.broker.config import BrokerConfig
from flowstream.broker.log.config import LogConfig
from flowstream.broker.metadata import topic_configs
from flowstream.broker.types import Instant
from flowstream.wire.batch import decode_records, encode_batch, encode_control_batch, read_header
from flowstream.wire.batch_header import HEADER, seal
from flowstream.wire.error_codes import ErrorCode
from tests.broker.log.stories import NOW, appended, batch_of, new_log, refused

FIELDS = (
    "base_offset",
    "batch_length",
    "leader_epoch",
    "magic",
    "crc",
    "attributes",
    "last_offset_delta",
    "base_timestamp",
    "max_timestamp",
    "producer_id",
    "producer_epoch",
    "base_sequence",
    "count",
)


def changed(batch: memoryview, **fields: int) -> memoryview:
    """The batch with other header fields and a CRC that matches them."""
    values = dict(zip(FIELDS, HEADER.unpack_from(batch), strict=True)) | fields
    copy = bytearray(batch)
    HEADER.pack_into(copy, 0, *(values[name] for name in FIELDS))
    seal(copy, 0, len(copy))
    return memoryview(copy)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"magic": 1}, ErrorCode.INVALID_RECORD),
        ({"batch_length": 1 << 20}, ErrorCode.CORRUPT_MESSAGE),
        ({"batch_length": 0}, ErrorCode.CORRUPT_MESSAGE),
        ({"batch_length": -5}, ErrorCode.CORRUPT_MESSAGE),
        ({"base_offset": 7}, ErrorCode.INVALID_RECORD),
        ({"count": 0}, ErrorCode.INVALID_RECORD),
        ({"count": -1}, ErrorCode.INVALID_RECORD),
        ({"count": 3}, ErrorCode.INVALID_RECORD),
        ({"last_offset_delta": -1}, ErrorCode.INVALID_RECORD),
        ({"count": -1, "last_offset_delta": -2}, ErrorCode.INVALID_RECORD),
        ({"attributes": 0x20}, ErrorCode.INVALID_RECORD),
        ({"attributes": 0x40}, ErrorCode.INVALID_RECORD),
        ({"attributes": 0x08}, ErrorCode.INVALID_TIMESTAMP),
        ({"attributes": 5}, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        ({"attributes": 7}, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        ({"attributes": 0x10}, ErrorCode.INVALID_RECORD),
        ({"producer_id": 5}, ErrorCode.INVALID_RECORD),
        ({"producer_id": 5, "producer_epoch": 0}, ErrorCode.INVALID_RECORD),
        ({"max_timestamp": NOW + 3600_001}, ErrorCode.INVALID_TIMESTAMP),
    ],
)
def test_bad_headers_are_refused_and_leave_no_trace(
    fields: dict[str, int], error: ErrorCode
) -> None:
    storage, log = new_log()
    assert refused(log, changed(batch_of(2), **fields)).error == error
    assert (log.log_end, storage.size(log.active.path)) == (0, 0)
    assert list(log.producers) == []


@pytest.mark.parametrize("size", [0, 1, 12, 60])
def test_less_than_a_header_is_refused(size: int) -> None:
    _, log = new_log()
    assert refused(log, batch_of()[:size]).error == ErrorCode.INVALID_RECORD


def test_a_cut_batch_and_two_batches_are_refused() -> None:
    _, log = new_log()
    one = bytes(batch_of())
    assert refused(log, memoryview(one[:-1])).error == ErrorCode.CORRUPT_MESSAGE
    assert refused(log, memoryview(one + one)).error == ErrorCode.INVALID_RECORD


def test_every_changed_byte_under_the_crc_is_noticed() -> None:
    _, log = new_log()
    for at in range(17, len(batch_of())):
        bad = bytearray(batch_of())
        bad[at] ^= 1
        assert refused(log, memoryview(bad)).error in (
            ErrorCode.CORRUPT_MESSAGE,
            ErrorCode.INVALID_RECORD,
        )


def test_a_marker_from_a_client_is_refused() -> None:
    _, log = new_log()
    marker = encode_control_batch(
        True,
        base_offset=0,
        producer_id=1,
        producer_epoch=0,
        coordinator_epoch=0,
        timestamp=NOW,
        leader_epoch=0,
    )
    assert refused(log, memoryview(marker)).error == ErrorCode.INVALID_RECORD


def test_sizes_are_bounded() -> None:
    _, log = new_log(LogConfig(max_message_bytes=500))
    assert refused(log, batch_of(value=bytes(600))).error == ErrorCode.MESSAGE_TOO_LARGE
    _, log = new_log(LogConfig(segment_bytes=500))
    assert refused(log, batch_of(value=bytes(600))).error == ErrorCode.RECORD_LIST_TOO_LARGE


def test_timestamps_are_bounded_as_the_topic_says() -> None:
    _, log = new_log(LogConfig(timestamp_before_max_ms=1000, timestamp_after_max_ms=1000))
    assert refused(log, batch_of(timestamp=NOW - 1001)).error == ErrorCode.INVALID_TIMESTAMP
    assert refused(log, batch_of(timestamp=NOW + 1001)).error == ErrorCode.INVALID_TIMESTAMP
    appended(log, batch_of(timestamp=NOW - 1000))
    appended(log, batch_of(timestamp=NOW + 1000))


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        ((0, -1001, 0), [1]),
        ((-1001, 0, 1001), [0, 2]),
        ((0, 0, 1001), [2]),
        ((-1001, -1001, -1001), [0, 1, 2]),
        ((-1000, 1000, 0), []),
    ],
)
def test_every_record_out_of_time_is_named(
    times: tuple[int, ...], wrong: list[int], codec: int
) -> None:
    _, log = new_log(LogConfig(timestamp_before_max_ms=1000, timestamp_after_max_ms=1000))
    records = [(NOW + each, b"k", b"v", ()) for each in times]
    sent = memoryview(encode_batch(records, codec=codec))
    if not wrong:
        appended(log, sent)
        return
    result = refused(log, sent)
    assert result.error == ErrorCode.INVALID_TIMESTAMP
    assert [at for at, _ in result.record_errors] == wrong


def test_LogAppendTime_does_not_ask_what_time_the_records_have() -> None:
    config = LogConfig(log_append_time=True, timestamp_before_max_ms=1000)
    _, log = new_log(config)
    appended(log, batch_of(timestamp=5))
    appended(log, batch_of(timestamp=NOW + 10**9))


def test_records_without_a_timestamp_are_not_too_old() -> None:
    """Kafka's LogValidator passes over NO_TIMESTAMP."""
    _, log = new_log(LogConfig(timestamp_before_max_ms=1000))
    appended(log, batch_of(timestamp=-1))


def test_a_compacted_topic_wants_keys_and_names_the_records_without() -> None:
    _, log = new_log(LogConfig(compact=True))
    mixed = encode_batch(
        [(NOW, b"k", b"1", ()), (NOW, None, b"2", ()), (NOW, b"k", None, ()), (NOW, None, b"", ())]
    )
    result = refused(log, memoryview(mixed))
    assert result.error == ErrorCode.INVALID_RECORD
    assert [at for at, _ in result.record_errors] == [1, 3]
    appended(log, batch_of(key=b""))


@pytest.mark.parametrize("stored", range(5))
@pytest.mark.parametrize("sent", range(5))
def test_the_topics_codec_is_stored(sent: int, stored: int) -> None:
    _, log = new_log(LogConfig(codec=stored))
    appended(log, batch_of(20, value=b"value" * 20, producer=(7, 1, 0), codec=sent))
    (batch,) = log.scan()
    header = read_header(batch)
    assert header.codec == stored
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 1, 0)
    assert [r.value for r in decode_records(batch)] == [b"value" * 20] * 20


def test_a_batch_must_not_be_too_large_in_the_topics_codec() -> None:
    _, log = new_log(LogConfig(codec=0, max_message_bytes=1000))
    assert refused(log, batch_of(value=bytes(2000), codec=1)).error == ErrorCode.MESSAGE_TOO_LARGE
    appended(log, batch_of(value=bytes(500), codec=1))


@pytest.mark.parametrize(("codec", "level"), [("gzip", 0), ("zstd", -131072)])
def test_the_topics_level_of_compression_counts(codec: str, level: int) -> None:
    value = bytes(range(200)) * 20
    sizes = []
    for settings in ({}, {f"compression.{codec}.level": str(level)}):
        _, log = new_log(LogConfig.of({"compression.type": codec, **settings}))
        appended(log, batch_of(5, value=value))
        (batch,) = log.scan()
        assert [r.value for r in decode_records(batch)] == [value] * 5
        sizes.append(len(batch))
    assert sizes[1] > 2 * sizes[0]


def lying(at: int, value: int, codec: int = 0) -> memoryview:
    """Two records in a batch with one byte of its body changed and a CRC that matches."""
    copy = bytearray(encode_batch([(NOW, b"k", b"aaaa", ()), (NOW, b"k", b"b", ())], codec=codec))
    copy[at] = value
    seal(copy, 0, len(copy))
    return memoryview(copy)


LIES = {
    "a length": lying(61, 4),
    "an offset": lying(64, 2),
    "a value that has no end": lying(67, 0xFE),
    "a body that cannot be decompressed": lying(63, 0xFF, codec=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_body_is_stored_as_it_came_unless_all_records_are_read(lie: str) -> None:
    _, log = new_log()
    appended(log, memoryview(bytearray(LIES[lie])))
    _, log = new_log(LogConfig(full_validation=True))
    assert refused(log, LIES[lie]).error == ErrorCode.INVALID_RECORD
    appended(log, batch_of(3, codec=4))


def test_the_producers_bytes_are_stored_as_they_came() -> None:
    _, log = new_log()
    batch = bytes(batch_of(3, producer=(9, 0, 0), codec=4))
    appended(log, memoryview(bytearray(batch)))
    (stored,) = log.scan()
    assert bytes(stored)[16:] == batch[16:]


def test_log_append_time_is_the_brokers() -> None:
    _, log = new_log(LogConfig(log_append_time=True))
    now = Instant(NOW + 77)
    result = appended(log, batch_of(2, timestamp=5), now)
    assert result.timestamp == now
    (batch,) = log.scan()
    assert read_header(batch).is_log_append_time
    assert [r.timestamp for r in decode_records(batch)] == [now, now]


def test_settings_come_under_kafkas_names() -> None:
    config = LogConfig.of(
        {
            "segment.bytes": "1048576",
            "cleanup.policy": "compact,delete",
            "compression.type": "uncompressed",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": "-1",
            "min.insync.replicas": "1",
            "record.validation": "full",
            "compression.gzip.level": "2",
        }
    )
    assert config == replace(
        LogConfig(),
        segment_bytes=1048576,
        compact=True,
        codec=0,
        log_append_time=True,
        retention_ms=-1,
        full_validation=True,
        gzip_level=2,
    )
    assert LogConfig.of({}) == LogConfig()
    # A policy that is accepted is never passed over.
    spaced = {"cleanup.policy": "compact,\tdelete "}
    assert topic_configs.check(BrokerConfig(), dict(spaced)) == spaced
    assert (LogConfig.of(spaced).compact, LogConfig.of(spaced).delete) == (True, True)
