"""Requests about groups of the classic protocol, and offsets."""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstream.wire.fields import ZERO_UUID
from tests.interop.differential.asking import Client
from tests.interop.differential.topics import NO_ID, create, id_of

SUBSCRIPTION = bytes.fromhex("00010000000100026774ffffffff00000000")
"""A consumer's metadata: topic `gt`."""


def _join(group: str, member: str = "", **more: Any) -> dict[str, Any]:
    return {
        "group_id": group, "session_timeout_ms": 300_000, "rebalance_timeout_ms": 300_000, "member_id": member,
        "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": SUBSCRIPTION}],
    } | more  # fmt: skip


def member_of(c: Client, group: str, **more: Any) -> str:
    """A member that has joined alone, in generation 1, not compared."""
    answer = c.quietly(11, _join(group, **more), 5)
    if answer.error_code == 79:
        answer = c.quietly(11, _join(group, answer.member_id, **more), 5)
    assert answer.error_code == 0, answer
    member: str = answer.member_id
    return member


def stable(c: Client, group: str, **more: Any) -> str:
    """The same after its assignment."""
    member = member_of(c, group, **more)
    assigned = [{"member_id": member, "assignment": b"x"}]
    sync = {"group_id": group, "generation_id": 1, "member_id": member, "assignments": assigned}
    assert c.quietly(14, sync, 3).error_code == 0
    return member


def joining(c: Client) -> None:
    create(c, "gt")
    for version in range(10):
        name = f"j{version}"
        c.ask(11, _join(name), version)
        c.ask(11, _join(name, "stranger"), version)
        c.ask(11, _join(""), version)
        c.ask(11, _join(f"j-a{version}", session_timeout_ms=1), version)
        c.ask(11, _join(f"j-b{version}", session_timeout_ms=10_000_000), version)
        c.ask(11, _join(f"j-c{version}", protocols=[]), version)
        c.ask(11, _join(f"j-d{version}", protocol_type=""), version)
        c.ask(11, _join(f"j-f{version}", "stranger", protocol_type="other"), version)
        if version >= 5:
            c.ask(11, _join(f"j-e{version}", group_instance_id="i"), version)
            c.ask(11, _join(f"j-g{version}", "stranger", group_instance_id="i"), version)
            c.ask(11, _join(f"j-h{version}", group_instance_id="a b"), version)
            c.ask(11, _join(f"j-i{version}", group_instance_id=""), version)
    member = stable(c, "js")
    for version in (0, 5, 9):
        c.ask(11, _join("js", protocol_type="other"), version)
        c.ask(11, _join("js", protocols=[{"name": "other", "metadata": b""}]), version)
        c.ask(11, _join("js", "stranger"), version)
    c.ask(11, _join("js", member), 5)
    stable(c, "jt", group_instance_id="i")
    for version in (5, 9):
        c.ask(11, _join("jt", "stranger", group_instance_id="i"), version)
        c.ask(11, _join("jt", group_instance_id="i"), version)


def working(c: Client) -> None:
    """Sync and heartbeat: in every state, right and wrong."""
    member = member_of(c, "w")  # waits for its assignment

    def told(**more: Any) -> dict[str, Any]:
        return {"group_id": "w", "generation_id": 1, "member_id": member} | more

    wrong = (
        {"member_id": "stranger"}, {"member_id": ""}, {"generation_id": 0}, {"generation_id": 2},
        {"generation_id": -1}, {"group_id": "absent"}, {"group_id": ""},
    )  # fmt: skip
    for version in range(5):
        c.ask(12, told(), version)
        for more in wrong:
            c.ask(12, told(**more), version)
        if version >= 3:
            c.ask(12, told(group_instance_id="i"), version)
    for version in range(6):
        for more in wrong:
            c.ask(14, told(**more), version)
        if version >= 3:
            c.ask(14, told(group_instance_id="i"), version)
    for more in (
        {"protocol_type": "x", "protocol_name": "range"},
        {"protocol_type": "consumer", "protocol_name": "x"},
        {},
    ):
        c.ask(14, told(**more), 5)
    good = told(
        assignments=[
            {"member_id": member, "assignment": b"x"},
            {"member_id": "nobody", "assignment": b"y"},
        ]
    )
    c.ask(14, {**good, "protocol_type": "consumer", "protocol_name": "range"}, 5)
    for version in range(6):
        c.ask(
            14,
            told(protocol_type="consumer", protocol_name="range") if version == 5 else told(),
            version,
        )
    for version in range(5):
        c.ask(12, told(), version)
        for more in wrong:
            c.ask(12, told(**more), version)


def leaving(c: Client) -> None:
    member = stable(c, "l")
    for version in range(3):
        c.ask(13, {"group_id": "l", "member_id": "stranger"}, version)
        c.ask(13, {"group_id": "absent", "member_id": "stranger"}, version)
        c.ask(13, {"group_id": "", "member_id": "stranger"}, version)
    for version in (3, 4, 5):
        for group in ("l", "absent", ""):
            c.ask(
                13,
                {
                    "group_id": group,
                    "members": [
                        {"member_id": "stranger"},
                        {"member_id": "", "group_instance_id": "i"},
                    ],
                },
                version,
            )
            c.ask(13, {"group_id": group, "members": []}, version)
            c.ask(13, {"group_id": group, "members": [{"member_id": ""}]}, version)
    c.ask(13, {"group_id": "l", "members": [{"member_id": member}, {"member_id": member}]}, 5)
    c.ask(13, {"group_id": "l", "members": [{"member_id": member}]}, 5)
    static = stable(c, "ws", group_instance_id="i")
    c.ask(12, {"group_id": "ws", "generation_id": 1, "member_id": "x", "group_instance_id": "i"}, 4)
    c.ask(
        12, {"group_id": "ws", "generation_id": 1, "member_id": static, "group_instance_id": "j"}, 4
    )
    c.ask(13, {"group_id": "ws", "members": [{"member_id": "x", "group_instance_id": "i"}]}, 5)
    c.ask(13, {"group_id": "ws", "members": [{"member_id": "", "group_instance_id": "i"}]}, 5)


def _commit(group: str, version: int, **more: Any) -> dict[str, Any]:
    part = {"partition_index": more.pop("index", 0), "committed_offset": more.pop("offset", 5)}
    part |= {"committed_metadata": more.pop("metadata", "m")}
    topic = (
        {"topic_id": more.pop("topic_id", ZERO_UUID)}
        if version > 9
        else {"name": more.pop("topic", "gt")}
    )
    return {
        "group_id": group,
        "generation_id_or_member_epoch": -1,
        "member_id": "",
        "topics": [{**topic, "partitions": [part]}],
    } | more


def committing(c: Client) -> None:
    create(c, "gt-2")
    known = id_of(c, "gt-2")
    member = stable(c, "cs")
    waiting = member_of(c, "cw")
    for version in range(2, 10):
        for more in (
            {}, {"topic": "absent"}, {"topic": ""}, {"index": 7}, {"index": -1}, {"offset": -1}, {"offset": -2},
            {"metadata": None}, {"metadata": "x" * 5000}, {"member_id": "stranger"},
            {"generation_id_or_member_epoch": 1}, {"topics": []},
        ):  # fmt: skip
            c.ask(8, _commit(f"co{version}", version, **{"topic": "gt-2"} | more), version)
        c.ask(8, _commit("", version, topic="gt-2"), version)
        for group, of in (("cs", member), ("cw", waiting)):
            for epoch, name in (
                (1, of),
                (0, of),
                (2, of),
                (1, "stranger"),
                (-1, ""),
                (-1, of),
                (1, ""),
            ):
                told = {"topic": "gt-2", "generation_id_or_member_epoch": epoch, "member_id": name}
                c.ask(8, _commit(group, version, **told), version)
        if version >= 7:
            c.ask(
                8,
                _commit(
                    "cs",
                    version,
                    topic="gt-2",
                    generation_id_or_member_epoch=1,
                    member_id=member,
                    group_instance_id="i",
                ),
                version,
            )
    c.ask(8, _commit("co10", 10, topic_id=known), 10)
    c.ask(8, _commit("co10", 10, topic_id=NO_ID), 10)
    c.ask(8, _commit("co10", 10), 10)


def fetching_offsets(c: Client) -> None:
    create(c, "gt-3")
    known = id_of(c, "gt-3")
    member = stable(c, "fs")
    told = {"topic": "gt-3", "generation_id_or_member_epoch": 1, "member_id": member}
    c.ask(8, _commit("fs", 9, **told), 9)
    for version in range(1, 8):
        for group in ("fs", "absent", ""):
            c.ask(
                9,
                {
                    "group_id": group,
                    "topics": [
                        {"name": "gt-3", "partition_indexes": [0, 7]},
                        {"name": "absent", "partition_indexes": [0]},
                    ],
                },
                version,
            )
            c.ask(
                9,
                {"group_id": group, "topics": [{"name": "gt-3", "partition_indexes": []}]},
                version,
            )
            c.ask(9, {"group_id": group, "topics": []}, version)
            if version >= 2:
                c.ask(9, {"group_id": group, "topics": None}, version)
    for version in (8, 9, 10):
        named = {"topic_id": known} if version == 10 else {"name": "gt-3"}
        absent = {"topic_id": NO_ID} if version == 10 else {"name": "absent"}
        wanted = [{**named, "partition_indexes": [0, 7]}, {**absent, "partition_indexes": [0]}]
        for group in ("fs", "absent", ""):
            for topics in (wanted, [], None):
                c.ask(9, {"groups": [{"group_id": group, "topics": topics}]}, version)
        c.ask(9, {"groups": []}, version)
        if version >= 9:
            c.ask(
                9,
                {
                    "groups": [
                        {"group_id": "fs", "member_id": "m", "member_epoch": 3, "topics": None}
                    ]
                },
                version,
            )
            c.ask(
                9,
                {
                    "groups": [
                        {"group_id": "fs", "member_id": member, "member_epoch": 1, "topics": None}
                    ]
                },
                version,
            )


def administering(c: Client) -> None:
    stable(c, "as")
    c.quietly(8, _commit("ae", 9, topic="gt"), 9)
    create(c, "ag")
    c.quietly(8, _commit("ae", 9, topic="ag"), 9)
    for version in range(7):
        for group in ("as", "ae", "absent", ""):
            c.ask(15, {"groups": [group]}, version)
        c.ask(15, {"groups": []}, version)
        c.ask(15, {"groups": ["as", "as"]}, version)
        if version >= 3:
            c.ask(15, {"groups": ["as", "absent"], "include_authorized_operations": True}, version)
    for states in ((), ("Stable",), ("stable",), ("Empty", "Dead"), ("No such",), ("",)):
        for version in (4, 5):
            c.ask(16, {"states_filter": states}, version, f"states {states}")
    for types in (
        ("classic",),
        ("Classic",),
        ("consumer",),
        ("no such",),
        ("share",),
        ("streams",),
    ):
        c.ask(16, {"types_filter": types}, 5, f"types {types}")

    def of(group: str, topic: str = "ag", index: int = 0) -> dict[str, Any]:
        return {
            "group_id": group,
            "topics": [{"name": topic, "partitions": [{"partition_index": index}]}],
        }

    for each in (
        of("absent"),
        of(""),
        of("as"),
        of("ae", "absent"),
        of("ae", index=9),
        of("ae", "gt"),
        of("ae"),
        of("ae"),
        {"group_id": "ae", "topics": []},
    ):
        c.ask(47, each, 0)
    for version in range(3):
        for groups in (["as"], ["absent"], [""], [], ["as", "as"]):
            c.ask(42, {"groups_names": groups}, version)
        c.quietly(8, _commit(f"ae{version}", 9, topic="ag"), 9)
        c.ask(42, {"groups_names": [f"ae{version}"]}, version)
        c.ask(42, {"groups_names": [f"ae{version}"]}, version)
    for version in range(4):
        for kind in (0, 1, 2, 3, -1):
            c.ask(10, {"key": "as", "key_type": kind} if version else {"key": "as"}, version)
        c.ask(10, {"key": ""}, version)
    for version in (4, 5, 6):
        for kind in (0, 1, 3, -1):
            c.ask(10, {"key_type": kind, "coordinator_keys": ["as", "", "as"]}, version)
        c.ask(10, {"coordinator_keys": []}, version)


STORIES: Iterable[Any] = (
    joining, working, leaving, committing, fetching_offsets, administering,
)  # fmt: skip
