"""Requests about producers and transactions."""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.interop.differential.asking import CONCURRENT, Client
from tests.interop.differential.groups import stable
from tests.interop.differential.topics import batch, create


def _init(name: str | None, **more: Any) -> dict[str, Any]:
    return {"transactional_id": name, "transaction_timeout_ms": 60_000} | more


def begin(c: Client, name: str, version: int = 4) -> tuple[int, int]:
    """A producer id and its epoch, not compared."""
    answers: list[Any] = []

    def is_begun() -> bool:
        answers.append(c.quietly(22, _init(name), version))
        return answers[-1].error_code != CONCURRENT

    c.until(is_begun)
    assert answers[-1].error_code == 0, answers
    return answers[-1].producer_id, answers[-1].producer_epoch


def initialising(c: Client) -> None:
    for version in range(6):
        c.ask(22, _init(None), version)
        c.ask(22, _init(""), version)
        c.ask(22, _init(None, transaction_timeout_ms=0), version)
        for timeout in (0, -1, 10_000_000):
            c.ask(
                22,
                _init(f"ti{version}", transaction_timeout_ms=timeout),
                version,
                f"timeout {timeout}",
            )
        c.ask(22, _init(f"ti{version}"), version)
        c.ask(22, _init(f"ti{version}"), version)
        if version >= 3:
            pid, epoch = begin(c, f"tj{version}", version)
            for a, b in (
                (pid, epoch),
                (pid, epoch),
                (pid, epoch + 1),
                (pid, 9),
                (pid + 1000, epoch),
                (-1, 0),
                (pid, -1),
            ):
                c.ask(
                    22,
                    _init(f"tj{version}", producer_id=a, producer_epoch=b),
                    version,
                    f"{a - pid} {b}",
                )
            c.ask(
                22,
                _init(f"tk{version}", producer_id=pid, producer_epoch=epoch),
                version,
                "another's",
            )
            c.ask(22, _init(None, producer_id=pid, producer_epoch=epoch), version, "without an id")


def _add(
    version: int, name: str, pid: int, epoch: int, *topics: tuple[str, list[int]]
) -> dict[str, Any]:
    told = [{"name": topic, "partitions": numbers} for topic, numbers in topics]
    if version < 4:
        return {
            "v3_and_below_transactional_id": name, "v3_and_below_producer_id": pid,
            "v3_and_below_producer_epoch": epoch, "v3_and_below_topics": told,
        }  # fmt: skip
    one = {"transactional_id": name, "producer_id": pid, "producer_epoch": epoch, "topics": told}
    return {"transactions": [one]}


def transacting(c: Client) -> None:
    create(c, "tt", partitions=2)
    for version in range(4):
        name = f"ta{version}"
        pid, epoch = begin(c, name)
        good = ("tt", [0])
        for a, b, topics, note in (
            (pid, epoch, (("absent", [0]), good), "absent"), (pid, epoch, (("tt", [7]), good), "number 7"),
            (pid, epoch, (("tt", [-1]),), "number -1"), (pid, epoch, (), "nothing"), (pid, epoch, (("tt", []),), "no number"),
            (pid + 1000, epoch, (good,), "wrong id"), (pid, epoch + 1, (good,), "newer"), (pid, epoch - 1, (good,), "older"),
            (pid, -1, (good,), "-1"), (pid, epoch, (("__consumer_offsets", [0]),), "internal"), (pid, epoch, (("", [0]),), "no name"),
            (pid, epoch, (good,), "good"), (pid, epoch, (good,), "again"), (pid, epoch, (good, good), "twice"),
        ):  # fmt: skip
            c.ask(24, _add(version, name, a, b, *topics), version, note)
        c.ask(24, _add(version, "absent", pid, epoch, good), version, "absent")
        c.ask(24, _add(version, "", pid, epoch, good), version, "no id")


def offsets_in_transactions(c: Client) -> None:
    create(c, "to")
    member = stable(c, "tg")
    for version in range(4):
        name = f"tb{version}"
        pid, epoch = begin(c, name)
        offsets = {
            "transactional_id": name,
            "producer_id": pid,
            "producer_epoch": epoch,
            "group_id": "tg",
        }
        for more in (
            {"producer_id": pid + 1000}, {"producer_epoch": epoch + 1}, {"producer_epoch": epoch - 1},
            {"transactional_id": "absent"}, {"transactional_id": ""}, {"group_id": ""}, {}, {},
        ):  # fmt: skip
            c.ask(25, offsets | more, version, f"{sorted(more)}")
        part = {"partition_index": 0, "committed_offset": 7, "committed_metadata": "m"}
        topic = {"name": "to", "partitions": [part]}
        for more in (
            {"producer_id": pid + 1000}, {"producer_epoch": epoch + 1}, {"producer_epoch": epoch - 1},
            {"transactional_id": "absent"}, {"group_id": ""}, {"topics": []},
            {"topics": [{"name": "absent", "partitions": [part]}, topic]},
            {"topics": [{"name": "to", "partitions": [part | {"partition_index": 9}]}]},
            {"topics": [{"name": "to", "partitions": [part | {"committed_metadata": "x" * 5000}]}]},
            {"topics": [{"name": "to", "partitions": [part | {"committed_offset": -1}]}]},
            {"generation_id": 1, "member_id": member}, {"generation_id": 0, "member_id": member},
            {"generation_id": 2, "member_id": member}, {"generation_id": 1, "member_id": "stranger"},
            {"generation_id": -1, "member_id": member}, {"generation_id": 1, "member_id": ""},
            {"generation_id": 1, "member_id": member, "group_instance_id": "i"},
            {},
        ):  # fmt: skip
            if version < 3 and set(more) & {"generation_id", "member_id"}:
                continue
            c.ask(28, offsets | {"topics": [topic]} | more, version, str(sorted(more)))
        _ending(c, version, name, (pid, epoch))


def _ending(c: Client, version: int, name: str, owner: tuple[int, int]) -> None:
    pid, epoch = owner
    end = {
        "transactional_id": name,
        "producer_id": pid,
        "producer_epoch": epoch,
        "committed": True,
    }
    for more in (
        {"producer_id": pid + 1000}, {"producer_epoch": epoch + 1}, {"producer_epoch": epoch - 1},
        {"transactional_id": "absent"}, {"transactional_id": ""}, {}, {}, {"committed": False}, {},
    ):  # fmt: skip
        c.ask(26, end | more, version, f"{sorted(more)}")
    pid, epoch = begin(c, f"te{name}")
    unbegun = {"transactional_id": f"te{name}", "producer_id": pid, "producer_epoch": epoch}
    c.ask(26, end | unbegun, version, "nothing was begun")


def offsets_of_consumers(c: Client) -> None:
    """Members of a consumer group (KIP-848) commit at their epoch, and at others."""
    create(c, "tc")
    joins = {"subscribed_topic_names": ["tc"], "topic_partitions": [], "rebalance_timeout_ms": 9000}
    c.ask(68, {"group_id": "tcg", "member_id": "m", "member_epoch": 0} | joins, 1)
    pid, epoch = begin(c, "tcx")
    told = {
        "transactional_id": "tcx",
        "producer_id": pid,
        "producer_epoch": epoch,
        "group_id": "tcg",
    }
    c.quietly(25, told, 3)
    part = {"partition_index": 0, "committed_offset": 7}
    told["topics"] = [{"name": "tc", "partitions": [part]}]
    for version in (3, 4):
        for generation, member in (
            (-1, ""),
            (2, "m"),
            (1, "m"),
            (0, "m"),
            (-1, "m"),
            (9, "m"),
            (2, "x"),
        ):
            named = {"generation_id": generation, "member_id": member}
            c.ask(28, told | named, version, f"{generation} {member}")


def transacting_anew(c: Client) -> None:
    """Protocol 2 (KIP-890)."""
    create(c, "tn")
    name = "tn"
    pid, epoch = begin(c, name, 5)

    def produce(
        epoch: int, sequence: int, version: int = 12, pid: int = pid, name: str = name
    ) -> dict[str, Any]:
        data = batch(
            b"1", producer_id=pid, producer_epoch=epoch, base_sequence=sequence, transactional=True
        )
        part = [{"index": 0, "records": data}]
        return {
            "transactional_id": name,
            "acks": -1,
            "timeout_ms": 5000,
            "topic_data": [{"name": "tn", "partition_data": part}],
        }

    end = {"transactional_id": name, "producer_id": pid, "producer_epoch": epoch, "committed": True}
    c.ask(26, end, 5, "nothing was begun")
    c.ask(26, end | {"committed": False}, 5, "nothing was begun, abort")
    pid, epoch = begin(c, name, 5)
    end = {"transactional_id": name, "producer_id": pid, "producer_epoch": epoch, "committed": True}
    c.ask(0, produce(epoch, 0, pid=pid), 11, "implicitly in an old version")
    c.ask(0, produce(epoch, 0, pid=pid), 12, "implicitly")
    c.ask(0, produce(epoch + 1, 0, pid=pid), 12, "newer")
    c.ask(0, produce(epoch - 1, 0, pid=pid), 12, "older")
    c.ask(0, produce(epoch, 0, pid=pid + 1000), 12, "wrong id")
    for more in (
        {"producer_epoch": epoch + 1},
        {"producer_epoch": epoch - 1},
        {"producer_id": pid + 1000},
        {},
        {},
        {"committed": False},
    ):
        c.ask(26, end | more, 5, f"{sorted(more)}")
    c.ask(26, end | {"producer_epoch": epoch + 1}, 5, "of the next, before it")
    c.ask(0, produce(epoch, 1, pid=pid), 12, "late")
    part = {"partition_index": 0, "committed_offset": 7}
    offsets = {
        "transactional_id": name, "producer_id": pid, "producer_epoch": epoch + 1, "group_id": "tng",
        "topics": [{"name": "tn", "partitions": [part]}],
    }  # fmt: skip
    for version in (4, 5):
        for more in (
            {"producer_epoch": epoch},
            {"producer_epoch": epoch + 9},
            {},
        ):
            c.ask(28, offsets | more, version, f"{sorted(more)}")
    c.ask(26, end | {"producer_epoch": epoch + 1}, 5, "offsets alone")


def adding_as_brokers_do(c: Client) -> None:
    create(c, "tm")
    name = "tm"
    pid, epoch = begin(c, name, 5)
    for version in (4, 5):
        c.ask(24, _add(version, name, pid, epoch, ("tm", [0])), version)
        c.ask(24, _add(version, "absent", pid, epoch, ("tm", [0])), version)
        told = _add(version, name, pid, epoch, ("tm", [0]))["transactions"]
        c.ask(24, {"transactions": [{**told[0], "verify_only": True}]}, version, "verify")
        c.ask(24, {"transactions": [{**told[0], "producer_epoch": epoch + 1}]}, version, "newer")


def describing(c: Client) -> None:
    create(c, "td", partitions=2)
    pid, epoch = begin(c, "td1")
    c.quietly(24, _add(3, "td1", pid, epoch, ("td", [0])), 3)
    c.ask(65, {"transactional_ids": ["td1", "absent", ""]})
    c.ask(65, {"transactional_ids": []})
    c.ask(65, {"transactional_ids": ["td1", "td1"]})
    for version in range(3):
        for states in ((), ("Ongoing",), ("ongoing",), ("No such", "Ongoing"), ("",)):
            c.ask(66, {"state_filters": states, "producer_id_filters": [pid]}, version, f"{states}")
        c.ask(66, {"producer_id_filters": [pid + 1000]}, version, "unknown id")
    for duration in (-1, 0, 1, 10_000_000):
        c.ask(
            66,
            {"producer_id_filters": [pid], "duration_filter": duration},
            2,
            f"duration {duration}",
        )
    for pattern in (None, "", "td.*", "[", "td", "xx"):
        c.ask(
            66,
            {"producer_id_filters": [pid], "transactional_id_pattern": pattern},
            2,
            f"pattern {pattern}",
        )
    for name, number in (
        ("td", 0),
        ("td", 9),
        ("td", -1),
        ("absent", 0),
        ("", 0),
        ("__consumer_offsets", 0),
    ):
        c.ask(61, {"topics": [{"name": name, "partition_indexes": [number]}]})
    c.ask(61, {"topics": []})
    c.ask(61, {"topics": [{"name": "td", "partition_indexes": []}]})
    for version in (1, 2):
        marker = {
            "producer_id": 4242, "producer_epoch": 0, "transaction_result": False, "coordinator_epoch": 0,
            "topics": [{"name": "td", "partition_indexes": [1, 9]}, {"name": "absent", "partition_indexes": [0]}],
        }  # fmt: skip
        c.ask(27, {"markers": [marker]}, version, "of nobody")
        c.ask(27, {"markers": []}, version)
        c.ask(27, {"markers": [marker | {"topics": []}]}, version)
        c.ask(27, {"markers": [marker | {"coordinator_epoch": -1}]}, version, "epoch -1")


STORIES: Iterable[Any] = (
    initialising, transacting, offsets_in_transactions, offsets_of_consumers, transacting_anew, adding_as_brokers_do, describing,
)  # fmt: skip
