"""Metadata records against what a real Kafka wrote and what its dump tool says of them."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.record_frames import MetadataError, decode_record, encode_record
from flowstream.broker.metadata.records import RECORD_TYPES
from tests.broker import golden

PARTITION = "__cluster_metadata-0"


def test_every_golden_record_encodes_to_the_same_bytes() -> None:
    count = 0
    for record in golden.records(PARTITION):
        assert record.key is None
        assert record.value is not None
        decoded, version = decode_record(record.value)
        assert encode_record(decoded, version) == record.value
        count += 1
    assert count > 300


def test_every_golden_record_says_what_kafkas_dump_says() -> None:
    said = golden.dump(PARTITION)
    ours = list(golden.records(PARTITION))
    # The first record of the dump is control: it is printed in another form and not matched.
    assert [offset for offset, _, _ in said] == [record.offset for record in ours]
    for (_, _, payload), record in zip(said, ours, strict=True):
        assert record.value is not None
        decoded, version = decode_record(record.value)
        if payload is None:
            continue
        assert payload["version"] == version
        assert payload["type"] == kafka_name(type(decoded).__name__)
        check_fields(decoded, payload["data"])


def kafka_name(cls: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls).upper()


def check_fields(decoded: object, said: dict[str, Any]) -> None:
    for name, value in said.items():
        attribute = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        check_value(getattr(decoded, attribute), value, attribute)


def check_value(ours: object, said: Any, name: str) -> None:
    if isinstance(said, dict):
        check_fields(ours, said)
    elif isinstance(said, list):
        assert isinstance(ours, tuple)
        assert len(ours) == len(said)
        for one, other in zip(ours, said, strict=True):
            check_value(one, other, name)
    elif isinstance(ours, bytes):
        assert base64.urlsafe_b64encode(ours).decode().rstrip("=") == said
    else:
        assert ours == said, name


@pytest.mark.parametrize(
    ("value", "entity", "key", "limit"),
    [
        (
            "010e00020575736572037531001370726f64756365725f627974655f72617465408f4000000000000000",
            [("user", "u1")],
            "producer_byte_rate",
            1000,
        ),
        (
            "010e00020a636c69656e742d696400001370726f64756365725f627974655f72617465"
            "408f5000000000000000",
            [("client-id", None)],
            "producer_byte_rate",
            1002,
        ),
        (
            "010e00020369700931302e302e302e310019636f6e6e656374696f6e5f6372656174696f6e5f72617465"
            "40240000000000000000",
            [("ip", "10.0.0.1")],
            "connection_creation_rate",
            10,
        ),
    ],
)
def test_quotas_are_kafkas_bytes(
    value: str, entity: list[tuple[str, str | None]], key: str, limit: float
) -> None:
    """As a Kafka 4.3.1 wrote them."""
    record, version = decode_record(bytes.fromhex(value))
    assert encode_record(record, version).hex() == value
    image = Image()
    image.apply(record)
    assert image.quotas == {tuple(entity): {key: limit}}


def test_the_golden_image_has_what_kafka_had() -> None:
    image = Image()
    for record in golden.records(PARTITION):
        decoded = image.decode(record.key, record.value)
        assert decoded is not None
        image.apply(decoded)
    assert image.features["transaction.version"] == 2
    assert image.features["metadata.version"] == 30
    assert image.next_producer_id == 1_000
    assert "gone" not in image.topics
    assert len(image.topics["__consumer_offsets"].partitions) == 4
    assert image.topic_configs("compacted")["cleanup.policy"] == "compact"
    assert image.topics_by_id[image.topics["tx"].topic_id] is image.topics["tx"]
    assert image.open_transaction is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x01",
        b"\x02\x02\x00\x00",
        b"\x01\x12\x00\x00",  # an access rule: ignoring it would be a guess (D7)
        b"\x01\x02\x09\x00",
        b"\x01\x02\x00\x05a",
        b"\xff\xff\xff\xff",
    ],
)
def test_what_cannot_be_understood_is_refused(value: bytes) -> None:
    with pytest.raises(MetadataError):
        decode_record(value)


def test_record_types_have_kafkas_numbers() -> None:
    assert {number: cls.__name__ for number, cls in RECORD_TYPES.items() if number < 10} == {
        0: "RegisterBrokerRecord",
        1: "UnregisterBrokerRecord",
        2: "TopicRecord",
        3: "PartitionRecord",
        4: "ConfigRecord",
        5: "PartitionChangeRecord",
        7: "FenceBrokerRecord",
        8: "UnfenceBrokerRecord",
        9: "RemoveTopicRecord",
    }
