"""Requests about records and positions."""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstream.wire.batch import encode_batch
from flowstream.wire.fields import ZERO_UUID
from tests.interop.differential.asking import Client
from tests.interop.differential.topics import NO_ID, TIME, batch, create, id_of


def _produce(topic: str, data: bytes | None, **more: Any) -> dict[str, Any]:
    index = more.pop("index", 0)
    named = {"topic_id": more.pop("topic_id")} if "topic_id" in more else {"name": topic}
    parts = [{"index": index, "records": data}]
    return {
        "acks": -1,
        "timeout_ms": 5000,
        "topic_data": [{**named, "partition_data": parts}],
    } | more


def producing(c: Client) -> None:
    create(c, "p")
    create(c, "p-compact", configs={"cleanup.policy": "compact"})
    create(c, "p-small", configs={"max.message.bytes": "200"})
    create(c, "p-append", configs={"message.timestamp.type": "LogAppendTime"})
    create(
        c,
        "p-late",
        configs={
            "message.timestamp.after.max.ms": "1000",
            "message.timestamp.before.max.ms": "1000",
        },
    )
    for version in range(3, 13):
        c.ask(0, _produce("p", batch(b"1")), version)
        c.ask(0, _produce("absent", batch(b"1")), version)
        c.ask(0, _produce("p", batch(b"1"), index=7), version)
        c.ask(0, _produce("p", batch(b"1"), index=-1), version)
        c.ask(0, _produce("p", batch(b"1"), acks=2), version)
        c.ask(0, _produce("p-small", batch(b"x" * 1000)), version)
        c.ask(0, _produce("p-compact", bytes(encode_batch([(TIME, None, b"v", ())]))), version)
        c.ask(0, _produce("p-late", batch(b"1")), version)
    known = id_of(c, "p")
    c.ask(0, _produce("", batch(b"1"), topic_id=known), 13)
    c.ask(0, _produce("", batch(b"1"), topic_id=known, index=9), 13)
    c.ask(0, _produce("", batch(b"1"), topic_id=NO_ID), 13)
    c.ask(0, _produce("", batch(b"1"), topic_id=ZERO_UUID), 13)


def producing_badly(c: Client) -> None:
    create(c, "p2", "p-other")
    c.quietly(0, _produce("p2", batch(b"1")), 9)
    for version in (3, 9, 12):
        whole = batch(b"1", b"2")
        flipped = whole[:-1] + bytes([whole[-1] ^ 1])
        magic = whole[:16] + b"\1" + whole[17:]
        for bad, note in (
            (b"", "nothing"), (whole[:-1], "short"),
            (flipped, "crc"), (magic, "magic 1"), (whole + whole, "two batches"), (whole[:30], "half a header"),
        ):  # fmt: skip
            c.ask(0, _produce("p2", bad), version, note)
        for name in ("", "a b", "__consumer_offsets", "__transaction_state"):
            c.ask(0, _produce(name, batch(b"1")), version)
    c.ask(0, {"acks": -1, "timeout_ms": 100, "topic_data": []}, 9)
    c.ask(
        0, {"acks": -1, "timeout_ms": 100, "topic_data": [{"name": "p2", "partition_data": []}]}, 9
    )
    c.ask(0, _produce("p2", batch(b"1"), timeout_ms=0), 9)
    c.ask(0, _produce("p2", batch(b"1"), timeout_ms=-1), 9)
    for pid, epoch, sequence in (
        (5_000, 0, 0),
        (5_000, 0, 0),
        (5_000, 0, 5),
        (5_000, 0, 1),
        (5_001, 0, 3),
        (5_000, 1, 0),
        (5_000, 0, 2),
        (5_000, 1, 7),
        (5_000, 2, 4),
    ):
        data = batch(b"1", producer_id=pid, producer_epoch=epoch, base_sequence=sequence)
        c.ask(0, _produce("p-other", data), 12, f"sequence {pid} {epoch} {sequence}")
    data = batch(b"1", producer_id=77, producer_epoch=0, base_sequence=0, transactional=True)
    for version in (3, 8, 11, 12):
        c.ask(
            0, _produce("p2", data, transactional_id="nobody"), version, "of an unknown transaction"
        )
        c.ask(0, _produce("p2", data), version, "transactional without an id")
    two = [{"index": 0, "records": batch(b"1")}, {"index": 0, "records": batch(b"1")}]
    c.ask(
        0,
        {"acks": -1, "timeout_ms": 100, "topic_data": [{"name": "p2", "partition_data": two}]},
        9,
        "one partition twice",
    )


def fetching(c: Client) -> None:
    create(c, "f")
    c.quietly(0, _produce("f", batch(b"1") + b""), 9)
    c.quietly(0, _produce("f", batch(b"2")), 9)

    def one(version: int, offset: int = 0, name: str = "f", **more: Any) -> dict[str, Any]:
        index = more.pop("index", 0)
        part = {"partition": index, "fetch_offset": offset, "partition_max_bytes": 10_000}
        part |= {
            k: more.pop(k)
            for k in ("current_leader_epoch", "last_fetched_epoch", "partition_max_bytes")
            if k in more
        }
        named = {"topic": name} if version < 13 else {"topic_id": known.get(name, NO_ID)}
        return {
            "max_wait_ms": 0,
            "min_bytes": 1,
            "max_bytes": 1 << 20,
            "topics": [{**named, "partitions": [part]}],
        } | more

    known = {"f": id_of(c, "f"), "zero": ZERO_UUID}
    for version in range(4, 19):
        for offset in (0, 1, 2, 3, -1, 1 << 40):
            c.ask(1, one(version, offset), version, f"offset {offset}")
        for more in (
            {"name": "absent"}, {"index": 5}, {"index": -1}, {"isolation_level": 1}, {"max_bytes": 0},
            {"partition_max_bytes": 0}, {"partition_max_bytes": 1},
            {"session_id": 7, "session_epoch": 1}, {"session_id": 7, "session_epoch": 0}, {"session_id": 7, "session_epoch": -1},
            {"current_leader_epoch": 5}, {"current_leader_epoch": 0}, {"last_fetched_epoch": 0}, {"last_fetched_epoch": 3},
            {"name": ""}, {"name": "zero"},
        ):  # fmt: skip
            with_word = set(more)
            if version < 7 and with_word & {"session_id"}:
                continue
            if version < 9 and with_word & {"current_leader_epoch"}:
                continue
            if version < 12 and with_word & {"last_fetched_epoch"}:
                continue
            c.ask(1, one(version, **more), version, str(more))
        c.ask(1, {"max_wait_ms": 0, "min_bytes": 1, "topics": []}, version, "nothing")
    same = one(11)["topics"]
    c.ask(1, {"max_wait_ms": 0, "min_bytes": 1, "topics": same + same}, 11, "twice")


def positions(c: Client) -> None:
    create(c, "o")
    c.quietly(0, _produce("o", batch(b"1", b"2")), 9)
    c.quietly(0, _produce("o", batch(b"3")), 9)

    def one(timestamp: int, name: str = "o", index: int = 0, **more: Any) -> dict[str, Any]:
        part = {"partition_index": index, "timestamp": timestamp}
        part |= {k: more.pop(k) for k in ("current_leader_epoch",) if k in more}
        return {"replica_id": -1, "topics": [{"name": name, "partitions": [part]}], **more}

    for version in range(1, 12):
        for timestamp in (-1, -2, -3, -4, -5, -6, -7, -8, 0, TIME, TIME + 1, 1 << 60):
            c.ask(2, one(timestamp), version, f"timestamp {timestamp}")
        c.ask(2, one(-1, "absent"), version)
        c.ask(2, one(-1, ""), version)
        c.ask(2, one(-1, index=3), version)
        c.ask(2, one(-1, index=-1), version)
        if version >= 2:
            c.ask(2, one(-1, isolation_level=1), version)
        if version >= 4:
            c.ask(2, one(-1, current_leader_epoch=0), version)
            c.ask(2, one(-1, current_leader_epoch=9), version)
        twice = one(-1)["topics"][0]["partitions"] * 2
        c.ask(2, {"replica_id": -1, "topics": [{"name": "o", "partitions": twice}]}, version)
        c.ask(2, {"replica_id": -1, "topics": []}, version)

    def epoch(number: int, name: str = "o", index: int = 0, current: int = -1) -> dict[str, Any]:
        part = {"partition": index, "current_leader_epoch": current, "leader_epoch": number}
        return {"replica_id": -1, "topics": [{"topic": name, "partitions": [part]}]}

    for version in (2, 3, 4):
        for number in (-1, 0, 1, 9):
            c.ask(23, epoch(number), version)
        for each in (
            epoch(0, "absent"),
            epoch(0, index=4),
            epoch(0, current=0),
            epoch(0, current=9),
            epoch(0, ""),
        ):
            c.ask(23, each, version)
        c.ask(23, {"replica_id": -1, "topics": []}, version)


def deleting_records(c: Client) -> None:
    create(c, "r")
    create(c, "r-compact", configs={"cleanup.policy": "compact"})
    c.quietly(0, _produce("r", batch(*(b"%d" % n for n in range(9)))), 9)

    def one(offset: int, name: str = "r", index: int = 0) -> dict[str, Any]:
        part = {"partition_index": index, "offset": offset}
        return {"topics": [{"name": name, "partitions": [part]}], "timeout_ms": 5000}

    for version in range(3):
        for each in (
            one(version + 1), one(0), one(-2), one(100), one(1, "absent"), one(1, ""), one(1, index=2),
            one(1, index=-1), one(0, "r-compact"), one(0, "__consumer_offsets"),
        ):  # fmt: skip
            c.ask(21, each, version)
        c.ask(21, {"topics": [], "timeout_ms": 1000}, version)
    c.ask(21, one(-1))
    same = one(9)["topics"]
    c.ask(21, {"topics": same + same, "timeout_ms": 1000})


STORIES: Iterable[Any] = (producing, producing_badly, fetching, positions, deleting_records)
