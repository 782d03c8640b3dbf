"""Requests about topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstream.wire.batch import encode_batch
from flowstream.wire.fields import ZERO_UUID
from tests.interop.differential.asking import Client

NO_ID = bytes(range(1, 17))
TIME = 1_700_000_000_000
ILLEGAL = ("", ".", "..", "a b", "ä", "x" * 250, "a/b")


def create(
    c: Client, *names: str, partitions: int = 1, configs: dict[str, str] | None = None
) -> None:
    """Topics, not compared."""
    told = [{"name": k, "value": v} for k, v in (configs or {}).items()]
    topics = [
        {"name": n, "num_partitions": partitions, "replication_factor": 1, "configs": told}
        for n in names
    ]
    answer = c.quietly(19, {"topics": topics, "timeout_ms": 5000}, 7)
    assert not any(each.error_code for each in answer.topics), answer
    for name in names:  # Kafka answers before every part of it has heard of the topic
        part = {"partition_index": partitions - 1, "timestamp": -1}
        asked = {"replica_id": -1, "topics": [{"name": name, "partitions": [part]}]}
        c.until(lambda asked=asked: not _error(c.quietly(2, asked, 7)))


def _error(answer: Any) -> int:
    code: int = answer.topics[0].partitions[0].error_code
    return code


def id_of(c: Client, name: str) -> bytes:
    answer = c.quietly(3, {"topics": [{"name": name}]}, 12)
    found: bytes = answer.topics[0].topic_id
    return found


def batch(*values: bytes, **more: Any) -> bytes:
    return bytes(encode_batch([(TIME, b"k", value, ()) for value in values], **more))


def creating_topics(c: Client) -> None:
    def one(**more: Any) -> dict[str, Any]:
        topic = {"name": "c1", "num_partitions": 1, "replication_factor": 1} | more
        return {"topics": [topic], "timeout_ms": 5000}

    for version in range(2, 8):
        name = f"c-{version}"
        if version < 7:  # Kafka tells an id for what it did not make
            c.ask(19, {**one(name=name), "validate_only": True}, version)
        c.ask(19, one(name=name), version)
        c.ask(19, one(name=name), version)
        c.ask(19, {**one(name=name), "validate_only": True}, version)
    for name in ILLEGAL:
        c.each(19, one(name=name), (2, 7))
    bad: tuple[dict[str, Any], ...] = (
        {"num_partitions": 0},
        {"num_partitions": -2},
        {"num_partitions": -1, "name": "c-default"},
        {"replication_factor": 0},
        {"replication_factor": 2},
        {"replication_factor": -2},
        {"replication_factor": -1, "name": "c-default-2"},
        {"configs": [{"name": "no.such", "value": "1"}]},
        {"configs": [{"name": "retention.ms", "value": "x"}]},
        {"configs": [{"name": "retention.ms", "value": None}]},
        {"configs": [{"name": "retention.ms", "value": "-2"}]},
        {"configs": [{"name": "cleanup.policy", "value": "both"}]},
        {"configs": [{"name": "segment.bytes", "value": "1"}]},
        {"configs": [{"name": "min.insync.replicas", "value": "0"}]},
        {"name": "c-twice", "configs": [{"name": "retention.ms", "value": v} for v in "12"]},
        {"assignments": [{"partition_index": 0, "broker_ids": [1]}]},
        {"num_partitions": -1, "assignments": [{"partition_index": 0, "broker_ids": [1]}]},
        {
            "name": "c-assigned", "num_partitions": -1, "replication_factor": -1,
            "assignments": [{"partition_index": n, "broker_ids": [1]} for n in range(2)],
        },
        {
            "num_partitions": -1, "replication_factor": -1,
            "assignments": [{"partition_index": 1, "broker_ids": [1]}],
        },
        {
            "num_partitions": -1, "replication_factor": -1,
            "assignments": [{"partition_index": 0, "broker_ids": [7]}],
        },
        {
            "num_partitions": -1, "replication_factor": -1,
            "assignments": [{"partition_index": 0, "broker_ids": [1, 1]}],
        },
        {
            "num_partitions": -1, "replication_factor": -1,
            "assignments": [{"partition_index": 0, "broker_ids": []}],
        },
    )  # fmt: skip
    for more in bad:
        c.each(19, one(**more), (2, 5, 7))
    twice = {"name": "c-same", "num_partitions": 1, "replication_factor": 1}
    c.ask(19, {"topics": [twice, twice], "timeout_ms": 1000}, 7)
    c.ask(19, {"topics": [], "timeout_ms": 1000}, 7)
    c.ask(19, one(name="col.lide"), 7)
    c.ask(19, one(name="col_lide"), 7)


def growing_topics(c: Client) -> None:
    create(c, "g", "g-two", partitions=2)

    def one(count: int, name: str = "g", **more: Any) -> dict[str, Any]:
        topic = {"name": name, "count": count, "assignments": None} | more
        return {"topics": [topic], "timeout_ms": 5000}

    for version in range(4):
        for count in (0, -1, 1, 2):
            c.ask(37, one(count), version)
        c.ask(37, one(1, "absent"), version)
        c.ask(37, {**one(10), "validate_only": True}, version)
        c.ask(37, one(3 + version), version)
    c.ask(37, one(20, assignments=[]))
    c.ask(37, one(8, assignments=[{"broker_ids": [1]}]))
    c.ask(37, one(8, assignments=[{"broker_ids": [9]}] * 2))
    c.ask(37, one(8, assignments=[{"broker_ids": [1, 1]}] * 2))
    c.ask(37, one(8, assignments=[{"broker_ids": []}] * 2))
    c.ask(37, one(8, assignments=[{"broker_ids": [1]}] * 2))
    same = one(5, "g-two")["topics"]
    c.ask(37, {"topics": same + same, "timeout_ms": 1000})
    c.ask(37, {"topics": [], "timeout_ms": 1000})


def deleting_topics(c: Client) -> None:
    create(c, *(f"d{n}" for n in range(12)))
    for version in range(1, 6):
        c.ask(20, {"topic_names": [f"d{version}", "absent"], "timeout_ms": 5000}, version)
        c.ask(20, {"topic_names": [f"d{version}"], "timeout_ms": 5000}, version)
        c.ask(20, {"topic_names": [], "timeout_ms": 5000}, version)
    c.ask(20, {"topic_names": ["d6", "d6"], "timeout_ms": 5000}, 5)
    known = id_of(c, "d7")

    def these(*topics: dict[str, Any]) -> dict[str, Any]:
        return {"topics": list(topics), "timeout_ms": 5000}

    c.ask(20, these({"name": None, "topic_id": NO_ID}), 6)
    c.ask(20, these({"name": None, "topic_id": ZERO_UUID}), 6)
    c.ask(20, these({"name": "d8", "topic_id": known}), 6)
    c.ask(20, these({"name": "d7"}, {"name": None, "topic_id": known}), 6)
    c.ask(20, these({"name": "d9"}, {"name": "d9"}, {"name": "d10"}), 6)
    c.ask(20, these({"name": None, "topic_id": known}), 6)
    c.ask(20, these({"name": "absent"}), 6)
    c.ask(20, these(), 6)
    for name in ILLEGAL:
        c.ask(20, these({"name": name}), 6)


def metadata(c: Client) -> None:
    create(c, "m", partitions=2)
    for version in range(14):
        c.ask(3, {"topics": [{"name": "m"}]}, version)
        c.ask(
            3,
            {"topics": [{"name": "m-absent"}], "allow_auto_topic_creation": False},
            max(version, 4),
        )
        for name in ILLEGAL:
            c.ask(
                3, {"topics": [{"name": name}], "allow_auto_topic_creation": False}, max(version, 4)
            )
    both = [{"name": "m"}, {"name": "m"}, {"name": "m-absent"}]
    c.each(3, {"topics": both, "allow_auto_topic_creation": False}, (4, 9, 12, 13))
    c.ask(3, {"topics": [{"name": None, "topic_id": NO_ID}]}, 12)
    c.ask(3, {"topics": [{"name": None, "topic_id": id_of(c, "m")}]}, 12)
    c.ask(3, {"topics": [{"name": "m", "topic_id": id_of(c, "m")}]}, 12)
    c.ask(3, {"topics": [{"name": None, "topic_id": ZERO_UUID}]}, 12)
    c.ask(3, {"topics": [{"name": None, "topic_id": NO_ID}]}, 10)
    c.ask(3, {"topics": []}, 4)
    c.ask(3, {"topics": []}, 12)
    more = {"include_topic_authorized_operations": True}
    c.each(3, {"topics": [{"name": "m"}], **more}, (8, 12, 13))
    c.each(3, {"topics": [], "include_cluster_authorized_operations": True}, (8, 10))
    for limit in (0, 1, 3, 2000):
        c.ask(
            75, {"topics": [{"name": "m"}, {"name": "absent"}], "response_partition_limit": limit}
        )
    c.ask(75, {"topics": [{"name": "m"}], "cursor": {"topic_name": "m", "partition_index": 1}})
    c.ask(75, {"topics": [{"name": "m"}], "cursor": {"topic_name": "m", "partition_index": -1}})
    c.ask(75, {"topics": [{"name": "m"}], "cursor": {"topic_name": "n", "partition_index": 0}})
    c.ask(75, {"topics": [{"name": "m"}, {"name": "m"}]})
    c.each(60, {"include_cluster_authorized_operations": True})
    c.each(60, {"endpoint_type": 2})
    c.each(60, {"endpoint_type": 9})


STORIES: Iterable[Any] = (creating_topics, growing_topics, deleting_topics, metadata)
