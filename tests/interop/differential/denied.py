"""What a user without any permission is told, whatever it asks (X2)."""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstream.wire.fields import ZERO_UUID
from tests.interop.differential.asking import Client
from tests.interop.differential.topics import NO_ID, batch

PART = {"partition_index": 0}
OF_X = batch(b"1", producer_id=1, producer_epoch=0, base_sequence=0, transactional=True)


def _produced(named: dict[str, Any], records: bytes) -> dict[str, Any]:
    part = {"index": 0, "records": records}
    topic = named | {"partition_data": [part]}
    return {"acks": -1, "timeout_ms": 1000, "topic_data": [topic]}


def _fetched(named: dict[str, Any]) -> dict[str, Any]:
    part = {"partition": 0, "partition_max_bytes": 1000}
    topic = named | {"partitions": [part]}
    return {"max_wait_ms": 0, "min_bytes": 1, "topics": [topic]}


def about_records(c: Client) -> None:
    for name in ("dt", "absent"):
        c.each(0, _produced({"name": name}, batch(b"1")), range(3, 13))
        of_x = _produced({"name": name}, OF_X) | {"transactional_id": "x"}
        c.each(0, of_x, range(3, 13))
        c.each(1, _fetched({"topic": name}), range(4, 13))
        wanted = PART | {"timestamp": -1}
        c.each(2, {"replica_id": -1, "topics": [{"name": name, "partitions": [wanted]}]})
        c.each(21, {"topics": [{"name": name, "partitions": [PART]}], "timeout_ms": 1000})
        epoch = {"partition": 0, "leader_epoch": 0}
        c.each(23, {"replica_id": -1, "topics": [{"topic": name, "partitions": [epoch]}]})
        c.each(61, {"topics": [{"name": name, "partition_indexes": [0]}]})
    for unknown in (NO_ID, ZERO_UUID):
        c.each(0, _produced({"topic_id": unknown}, batch(b"1")), (13,))
        c.each(1, _fetched({"topic_id": unknown}), range(13, 19))


def about_topics(c: Client) -> None:
    for name in ("dt", "absent"):
        one = {"name": name}
        c.each(3, {"topics": [one], "allow_auto_topic_creation": False}, range(4, 14))
        new = one | {"num_partitions": 1, "replication_factor": 1}
        c.each(19, {"topics": [new], "timeout_ms": 1000})
        c.each(20, {"topic_names": [name], "timeout_ms": 1000}, range(1, 6))
        c.each(20, {"topics": [one], "timeout_ms": 1000}, (6,))
        more = one | {"count": 9, "assignments": None}
        c.each(37, {"topics": [more], "timeout_ms": 1000})
        c.each(75, {"topics": [one]})
    c.each(3, {"topics": None}, range(1, 14))
    c.each(3, {"topics": []}, (0,))
    c.each(75, {"topics": []})
    for unknown in (NO_ID, ZERO_UUID):
        topic = {"name": None, "topic_id": unknown}
        c.each(20, {"topics": [topic], "timeout_ms": 1000}, (6,))


def about_groups(c: Client) -> None:
    join = {
        "group_id": "g",
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 10_000,
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b""}],
    }
    c.each(11, join)
    c.each(12, {"group_id": "g", "generation_id": 1, "member_id": "m"})
    c.each(13, {"group_id": "g", "member_id": "m"}, range(3))
    c.each(13, {"group_id": "g", "members": [{"member_id": "m"}]}, range(3, 6))
    c.each(14, {"group_id": "g", "generation_id": 1, "member_id": "m"}, range(5))
    c.each(
        8,
        {
            "group_id": "g",
            "generation_id_or_member_epoch": -1,
            "topics": [{"name": "dt", "partitions": [PART | {"committed_offset": 1}]}],
        },
        range(2, 10),
    )
    c.each(9, {"group_id": "g", "topics": [{"name": "dt", "partition_indexes": [0]}]}, range(1, 8))
    c.each(9, {"group_id": "g", "topics": None}, range(2, 8))
    c.each(
        9,
        {"groups": [{"group_id": "g", "topics": [{"name": "dt", "partition_indexes": [0]}]}]},
        (8, 9),
    )
    c.each(9, {"groups": [{"group_id": "g", "topics": None}]}, (8, 9, 10))
    c.each(15, {"groups": ["g"], "include_authorized_operations": True}, range(3, 7))
    c.each(15, {"groups": ["g"]}, range(3))
    c.each(16, {})
    c.each(42, {"groups_names": ["g"]})
    c.each(47, {"group_id": "g", "topics": [{"name": "dt", "partitions": [PART]}]})
    c.each(
        68,
        {
            "group_id": "g",
            "member_id": "m",
            "member_epoch": 0,
            "rebalance_timeout_ms": 1000,
            "subscribed_topic_names": ["dt"],
            "topic_partitions": [],
        },
    )
    c.each(69, {"group_ids": ["g"]})
    for kind in (0, 1):
        c.each(10, {"key": "k", "key_type": kind}, range(1, 4))
        c.each(10, {"coordinator_keys": ["k"], "key_type": kind}, (4, 5, 6))


def about_transactions(c: Client) -> None:
    ours = {"transactional_id": "x", "producer_id": 1, "producer_epoch": 0}
    c.each(22, {"transactional_id": "x", "transaction_timeout_ms": 1000})
    c.each(22, {"transactional_id": None, "transaction_timeout_ms": 1000})
    topic = [{"name": "dt", "partitions": [0]}]
    c.each(
        24,
        {f"v3_and_below_{name}": value for name, value in ours.items()}
        | {"v3_and_below_topics": topic},
        range(4),
    )
    c.each(24, {"transactions": [ours | {"topics": topic}]}, (4, 5))
    c.each(25, ours | {"group_id": "g"})
    c.each(26, ours | {"committed": True})
    marker = {
        "producer_id": 1,
        "producer_epoch": 0,
        "transaction_result": True,
        "topics": [{"name": "dt", "partition_indexes": [0]}],
    }
    c.each(27, {"markers": [marker]})
    c.each(
        28,
        ours
        | {
            "group_id": "g",
            "topics": [{"name": "dt", "partitions": [PART | {"committed_offset": 1}]}],
        },
    )
    c.each(65, {"transactional_ids": ["x"]})
    c.each(66, {})


def about_the_cluster(c: Client) -> None:
    anything = {
        "resource_type_filter": 1, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": None,
        "host_filter": None, "operation": 1, "permission_type": 1,
    }  # fmt: skip
    rule = {
        "resource_type": 2, "resource_name": "t", "resource_pattern_type": 3, "principal": "User:p", "host": "*",
        "operation": 3, "permission_type": 3,
    }  # fmt: skip
    c.each(29, anything)
    c.each(30, {"creations": [rule]})
    c.each(31, {"filters": [anything]})
    for kind, name in ((2, "dt"), (2, "absent"), (4, "1"), (4, ""), (8, "1"), (32, "g")):
        resource = {"resource_type": kind, "resource_name": name}
        c.each(32, {"resources": [resource]})
        c.each(
            33, {"resources": [resource | {"configs": [{"name": "retention.ms", "value": "1"}]}]}
        )
        c.each(
            44, {"resources": [resource | {"configs": [{"name": "retention.ms", "value": "1"}]}]}
        )
    c.each(34, {"dirs": [{"path": "/x", "topics": [{"name": "dt", "partitions": [0]}]}]})
    c.each(35, {"topics": None})
    c.each(43, {"topic_partitions": [{"topic": "dt", "partitions": [0]}], "timeout_ms": 1000})
    c.each(
        45,
        {"timeout_ms": 1000, "topics": [{"name": "dt", "partitions": [PART | {"replicas": [1]}]}]},
    )
    c.each(46, {"timeout_ms": 1000, "topics": None})
    c.each(48, {"components": []})
    c.each(49, {"entries": [{"entity": [{"entity_type": "user", "entity_name": "u"}], "ops": []}]})
    c.each(50, {"users": [{"name": "u"}]})
    c.each(51, {"upsertions": [], "deletions": [{"name": "u", "mechanism": 1}]})
    c.each(55, {"topics": [{"topic_name": "__cluster_metadata", "partitions": [PART]}]})
    c.each(57, {"timeout_ms": 1000, "feature_updates": [{"feature": "x", "max_version_level": 1}]})
    c.each(60, {"include_cluster_authorized_operations": True})
    c.each(74, {})


STORIES: Iterable[Any] = (
    about_records,
    about_topics,
    about_groups,
    about_transactions,
    about_the_cluster,
)
