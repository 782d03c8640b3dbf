"""Requests that only mean something one after the other: fetch sessions, records of many times,
what a topic's settings do to a batch, members of KIP-848 that come, go and come back.
"""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstream import clock
from flowstream.wire.batch import encode_batch
from tests.interop.differential.asking import Client
from tests.interop.differential.consumer_groups import _beat, _joins
from tests.interop.differential.records import _produce
from tests.interop.differential.topics import TIME, create, id_of
from tests.interop.differential.transactions import _add, begin

HOUR = 3_600_000


def fetch_sessions(c: Client) -> None:
    create(c, "fs-a", "fs-b")
    for name in ("fs-a", "fs-b"):
        c.quietly(0, _produce(name, bytes(encode_batch([(TIME, b"k", b"v", ())]))), 9)
    for version in (7, 11, 12, 13, 17, 18):
        _one_session(c, version)


def _one_session(c: Client, version: int) -> None:
    ids = {name: id_of(c, name) for name in ("fs-a", "fs-b")}
    names = {id: name for name, id in ids.items()} if version >= 13 else {}

    def part(name: str, offset: int, index: int = 0) -> dict[str, Any]:
        named = {"topic": name} if version < 13 else {"topic_id": ids.get(name, bytes(range(16)))}
        one = {"partition": index, "fetch_offset": offset, "partition_max_bytes": 10_000}
        return {**named, "partitions": [one]}

    def gone(name: str) -> dict[str, Any]:
        named = {"topic": name} if version < 13 else {"topic_id": ids[name]}
        return {**named, "partitions": [0]}

    def ask(session: int, epoch: int, note: str, *topics: Any, **more: Any) -> int:
        body = {"max_wait_ms": 0, "min_bytes": 0, "max_bytes": 1 << 20, "topics": list(topics)}
        told = {"session_id": session, "session_epoch": epoch}
        answer = c.quietly(1, body | told | more, version)
        found = sorted(
            (
                names.get(topic.topic_id, topic.topic),
                part.partition_index,
                part.error_code,
                part.high_watermark,
                part.log_start_offset,
                len(part.records or b""),
            )
            for topic in answer.responses
            for part in topic.partitions
        )
        c.lines.append(
            (f"Fetch v{version} {note}", {"error_code": answer.error_code, "parts": found})
        )
        number: int = answer.session_id
        return number

    opened = ask(0, 0, "opens", part("fs-a", 0), part("fs-b", 1), part("absent", 0))
    ask(opened, 1, "nothing is new")
    ask(opened, 2, "moves", part("fs-a", 1))
    ask(opened, 2, "an epoch again")
    ask(opened, 3, "goes back", part("fs-a", 0))
    ask(opened, 4, "out of range", part("fs-b", 77))
    ask(opened, 5, "still")
    ask(opened, 6, "forgets", forgotten_topics_data=[gone("fs-b")])
    ask(opened, 7, "unknown number", part("fs-a", 0, 9))
    ask(opened, 9, "skips an epoch")
    ask(opened, 8, "goes on")
    ask(opened, -1, "ends", part("fs-a", 0))
    ask(opened, 9, "after its end")
    ask(0, -1, "none", part("fs-a", 0))
    ask(0, 5, "no id, but an epoch", part("fs-a", 0))


def records_refused(c: Client) -> None:
    """KIP-467: which records of a batch, and what becomes of the others."""
    now = clock.wall_ms()
    create(c, "rr-compact", configs={"cleanup.policy": "compact"})
    bounds = {
        "message.timestamp.before.max.ms": "1000000",
        "message.timestamp.after.max.ms": "1000",
    }
    create(c, "rr-bounds", configs=bounds)
    for version in (3, 7, 8, 9, 12):
        for note, times, keys in (
            ("keys", (now, now, now), (b"a", None, None)),
            ("late", (now, now - HOUR, now - HOUR), (b"a", b"b", b"c")),
            ("early", (now + HOUR, now, now + HOUR), (b"a", b"b", b"c")),
            ("both", (now + HOUR, now, now - HOUR), (None, b"b", b"c")),
        ):
            records = [(time, key, b"v", ()) for time, key in zip(times, keys, strict=True)]
            for codec in (0, 1, 3, 4) if version >= 7 else (0, 1):
                data = bytes(encode_batch(records, codec=codec))
                for topic in ("rr-compact", "rr-bounds"):
                    c.ask(0, _produce(topic, data), version, f"{note} {codec} to {topic}")


def settings_of_a_topic(c: Client) -> None:
    """What compression.type, message.timestamp.type and max.message.bytes do to what is sent."""
    create(c, "st-append", configs={"message.timestamp.type": "LogAppendTime"})
    create(c, "st-plain", configs={"compression.type": "uncompressed", "max.message.bytes": "300"})
    create(c, "st-lz4", configs={"compression.type": "lz4", "max.message.bytes": "300"})
    for name in ("st-append", "st-plain", "st-lz4"):
        for size in (1, 150, 1000):
            for codec in (0, 1, 3):
                data = bytes(encode_batch([(TIME, b"k", b"v" * size, ())] * 2, codec=codec))
                answer = c.quietly(0, _produce(name, data), 9)
                given = answer.responses[0].partition_responses[0]
                appended = given.log_append_time_ms != -1
                c.lines.append(
                    (
                        f"{name} {codec} {size}",
                        [given.error_code, given.base_offset, appended, given.log_start_offset],
                    )
                )
        _kept(c, name)


def _kept(c: Client, name: str) -> None:
    """Attributes, offsets and counts of the batches that a topic has."""
    part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}
    body = {
        "max_wait_ms": 0,
        "min_bytes": 0,
        "max_bytes": 1 << 20,
        "topics": [{"topic": name, "partitions": [part]}],
    }
    data = bytes(c.quietly(1, body, 11).responses[0].partitions[0].records)
    batches = []
    while data:
        size = 12 + int.from_bytes(data[8:12], "big")
        own_time = int.from_bytes(data[35:43], "big") == TIME
        batches.append(
            (
                int.from_bytes(data[:8], "big"),
                data[21:23].hex(),
                data[23:27].hex(),
                own_time,
                data[57:61].hex(),
            )
        )
        data = data[size:]
    c.lines.append((f"{name} kept", batches))


def times(c: Client) -> None:
    """ListOffsets among batches that are out of order, compressed, deleted and undecided."""
    create(c, "ti")
    create(c, "ti-append", configs={"message.timestamp.type": "LogAppendTime"})
    for at, codec in ((30, 0), (10, 1), (50, 0), (50, 3), (20, 0)):
        records = [(TIME + at + more, b"k", b"v", ()) for more in (0, 5, 3, 5)]
        c.quietly(0, _produce("ti", bytes(encode_batch(records, codec=codec))), 9)
        c.quietly(0, _produce("ti-append", bytes(encode_batch(records, codec=codec))), 9)
    _looked_up(c, "all")
    c.quietly(
        21,
        {
            "topics": [{"name": "ti", "partitions": [{"partition_index": 0, "offset": 9}]}],
            "timeout_ms": 5000,
        },
        2,
    )
    _looked_up(c, "from 9")
    pid, epoch = begin(c, "ti")
    c.quietly(24, _add(3, "ti", pid, epoch, ("ti", [0])), 3)
    records = [(TIME + 99, b"k", b"v", ()), (TIME + 98, b"k", b"v", ())]
    data = bytes(
        encode_batch(
            records, producer_id=pid, producer_epoch=epoch, base_sequence=0, transactional=True
        )
    )
    c.quietly(0, _produce("ti", data, transactional_id="ti"), 9)
    _looked_up(c, "undecided")
    end = {
        "transactional_id": "ti",
        "producer_id": pid,
        "producer_epoch": epoch,
        "committed": False,
    }
    c.quietly(26, end, 3)
    c.until(
        lambda: (
            c.quietly(
                66, {"state_filters": ["CompleteAbort"], "producer_id_filters": [pid]}, 1
            ).transaction_states
        )
    )
    _looked_up(c, "aborted")
    c.quietly(
        21,
        {
            "topics": [{"name": "ti", "partitions": [{"partition_index": 0, "offset": -1}]}],
            "timeout_ms": 5000,
        },
        2,
    )
    _looked_up(c, "nothing left")


def _looked_up(c: Client, note: str) -> None:
    for name, wanted in (
        ("ti", (-1, -2, -3, -4, 0, 10, 12, 15, 16, 20, 33, 35, 36, 50, 55, 56, 98, 99, 100)),
        ("ti-append", (-1, -2, 0)),
    ):
        for at in wanted:
            for isolation in (0, 1):
                part = {"partition_index": 0, "timestamp": at if at < 0 else TIME + at}
                body = {
                    "replica_id": -1,
                    "isolation_level": isolation,
                    "topics": [{"name": name, "partitions": [part]}],
                }
                answer = c.quietly(2, body, 9).topics[0].partitions[0]
                told = [
                    answer.error_code,
                    answer.offset,
                    min(answer.timestamp - TIME, HOUR),
                    answer.leader_epoch,
                ]
                c.lines.append((f"{note}: {name} {at} isolation {isolation}", told))


def members_come_and_go(c: Client) -> None:
    """Static and other members of KIP-848, one at a time."""
    create(c, "mc", partitions=4)
    joins = {**_joins(), "subscribed_topic_names": ["mc"], "group_id": "mc"}
    beat = lambda member, epoch, **more: {**_beat(member, epoch), "group_id": "mc", **more}  # noqa: E731
    one = c.ask(68, {**_beat("one", 0, **joins), "instance_id": "i"}, 1, "static")
    c.ask(68, beat("one", one.member_epoch), 1, "goes on without its instance id")
    c.ask(68, beat("one", one.member_epoch, instance_id="i"), 1, "goes on")
    c.ask(68, {**_beat("two", 0, **joins), "instance_id": "i"}, 1, "another of its name")
    c.ask(68, beat("one", -2, instance_id="i"), 1, "leaves for a while")
    c.ask(68, beat("one", one.member_epoch, instance_id="i"), 1, "was away")
    _members(c, "away")
    two = c.ask(68, {**_beat("two", 0, **joins), "instance_id": "i"}, 1, "comes back by another id")
    c.ask(68, beat("one", one.member_epoch, instance_id="i"), 1, "the old one")
    _members(c, "back")
    c.ask(68, beat("two", two.member_epoch, instance_id="j"), 1, "of another name")
    c.ask(68, beat("two", -1, instance_id="i"), 1, "leaves")
    c.ask(68, beat("two", two.member_epoch, instance_id="i"), 1, "left")
    for assignor in ("range", "uniform", "Range", ""):
        c.ask(
            68,
            {**_beat("three", 0, **joins), "server_assignor": assignor},
            1,
            f"assignor {assignor}",
        )
        _members(c, f"assignor {assignor}")
        c.ask(68, beat("three", -1), 1, "leaves")
    for states, types in (
        (("Empty",), ()),
        (("empty", "Stable"), ("Consumer",)),
        ((), ("classic",)),
        (("Nonsense",), ()),
        ((), ("nonsense",)),
    ):
        answer = c.quietly(16, {"states_filter": states, "types_filter": types}, 5)
        listed = sorted(
            (g.group_id, g.protocol_type, g.group_state, g.group_type)
            for g in answer.groups
            if g.group_id == "mc"
        )
        c.lines.append((f"listed {states} {types}", [answer.error_code, listed]))
    c.ask(
        13,
        {
            "group_id": "mc",
            "members": [{"member_id": "three"}, {"member_id": "", "group_instance_id": "i"}],
        },
        5,
    )
    c.ask(42, {"groups_names": ["mc"]}, 2)


def _members(c: Client, note: str) -> None:
    """What is described of a group, without how far its assignment has come."""
    group = c.quietly(69, {"group_ids": ["mc"]}, 1).groups[0]
    members = [
        (m.member_id, m.instance_id, tuple(m.subscribed_topic_names), m.member_type)
        for m in group.members
    ]
    c.lines.append(
        (f"members {note}", [group.error_code, group.assignor_name, sorted(members, key=str)])
    )


def pages_of_topics(c: Client) -> None:
    """DescribeTopicPartitions (KIP-966): each page goes on where the one before said."""
    create(c, "pg-a", partitions=3)
    create(c, "pg-b", partitions=1)
    create(c, "pg-c", partitions=4)
    for limit in (1, 2, 3, 4, 5, 8, 9, 0, -1):
        cursor = None
        for page in range(20):
            topics = [{"name": name} for name in ("pg-c", "pg-absent", "pg-a", "pg-b", "pg-z")]
            body = {"topics": topics, "response_partition_limit": limit, "cursor": cursor}
            answer = c.ask(75, body, note=f"limit {limit} page {page}")
            following = answer.next_cursor
            if following is None:
                break
            cursor = {
                "topic_name": following.topic_name,
                "partition_index": following.partition_index,
            }
    for name, index in (("pg-a", 3), ("pg-a", 99), ("pg-absent", 0), ("pg-b", 1), ("pg-z", 7)):
        cursor = {"topic_name": name, "partition_index": index}
        topics = [{"name": name} for name in ("pg-c", "pg-absent", "pg-a", "pg-b", "pg-z")]
        c.ask(75, {"topics": topics, "cursor": cursor}, note=f"from {name} {index}")
        named = {"topic_name": name, "partition_index": index}
        c.ask(
            75, {"topics": [{"name": "pg-c"}], "cursor": named}, note=f"of pg-c from {name} {index}"
        )


def changing_protocols(c: Client) -> None:
    """A static member goes over to the protocol of consumers, and is made to leave."""
    create(c, "cp")
    classic = {
        "group_id": "cpg", "session_timeout_ms": 60_000, "rebalance_timeout_ms": 60_000, "group_instance_id": "i",
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": bytes.fromhex("00010000000100026370ffffffff00000000")}],
    }  # fmt: skip

    def beat(member: str, epoch: int, **more: Any) -> None:
        named = {"group_id": "cpg", "member_id": member, "member_epoch": epoch}
        c.ask(68, named | {"instance_id": "i"} | more, 1)

    joins = {"subscribed_topic_names": ["cp"], "topic_partitions": [], "rebalance_timeout_ms": 9000}
    first = c.ask(11, classic, 9)
    synced = {
        "group_id": "cpg", "generation_id": 1, "member_id": first.member_id, "group_instance_id": "i",
        "protocol_type": "consumer", "protocol_name": "range",
        "assignments": [{"member_id": first.member_id, "assignment": bytes.fromhex("000100000001000263700000000100000000ffffffff")}],
    }  # fmt: skip
    c.ask(14, synced, 5)
    beat("up", 0, **joins)
    c.ask(12, {"group_id": "cpg", "generation_id": 1, "member_id": first.member_id}, 4)
    beat("other", 0, **joins)
    beat("up", -2)
    beat("other", 0, **joins)
    beat("up", 1)
    beat("stays", 0, **{**joins, "instance_id": "j"})
    for members in ([("", "i"), ("x", "j"), ("", "k"), ("", None)], [("stays", None), ("", "j")]):
        listed = [{"member_id": a, "group_instance_id": b} for a, b in members]
        c.ask(13, {"group_id": "cpg", "members": listed}, 5)
    c.ask(69, {"group_ids": ["cpg"]}, 1)


STORIES: Iterable[Any] = (
    fetch_sessions, records_refused, settings_of_a_topic, times, members_come_and_go, changing_protocols,
    pages_of_topics,
)  # fmt: skip
