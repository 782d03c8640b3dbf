"""Metadata records against what a real Kafka wrote and what its dump tool says of them."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.records import (
    RECORD_TYPES,
    MetadataError,
    decode_record,
    encode_record,
)
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
