"""Requests about groups of the new protocol (KIP-848)."""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.interop.differential.asking import Client
from tests.interop.differential.groups import _commit, _join
from tests.interop.differential.topics import NO_ID, create, id_of


def _beat(member: str, epoch: int, **more: Any) -> dict[str, Any]:
    return {"group_id": "n", "member_id": member, "member_epoch": epoch} | more


def _joins() -> dict[str, Any]:
    names = {"subscribed_topic_names": ["nt"], "topic_partitions": []}
    return {"rebalance_timeout_ms": 10_000, **names}


def consumer_groups(c: Client) -> None:
    create(c, "nt", partitions=2)
    joins = _joins()
    for version in (0, 1):
        for each in (
            _beat("", 0, **joins), _beat("", 0), _beat("", 0, **{**joins, "subscribed_topic_names": None}),
            _beat("", 0, **{**joins, "rebalance_timeout_ms": -1}), _beat("", 0, **{**joins, "rebalance_timeout_ms": 0}),
            _beat("", 0, **{**joins, "topic_partitions": None}),
            _beat("", 0, **{**joins, "topic_partitions": [{"topic_id": NO_ID, "partitions": [0]}]}),
            _beat("x", 1), _beat("x", -1), _beat("x", -2), _beat("x", -3), _beat("", 1), _beat("", -1),
            _beat("x", 0, **joins, server_assignor="absent"), _beat("x", 0, **joins, instance_id=""),
            _beat("x", 0, **joins, rack_id=""), _beat("x", -2, instance_id="i"), {**_beat("", 0, **joins), "group_id": ""},
            _beat("x", 0, **{**joins, "subscribed_topic_names": []}),
            {**_beat("x", 1), "group_id": "absent"}, {**_beat("x", -1), "group_id": "absent"},
        ):  # fmt: skip
            c.ask(68, each, version)
    for pattern in ("n.*", "[", "", "(?=a)", "absent"):
        c.ask(
            68,
            {
                **_beat(f"r{pattern}", 0, **{**joins, "subscribed_topic_names": None}),
                "subscribed_topic_regex": pattern,
                "group_id": "nr",
            },
            1,
        )


def consumers(c: Client) -> None:
    joins = _joins()
    first = c.ask(68, {**_beat("a", 0, **joins), "group_id": "n2"}, 1)

    def of(epoch: int, **more: Any) -> dict[str, Any]:
        return {**_beat("a", epoch, **more), "group_id": "n2"}

    owned = [{"topic_id": id_of(c, "nt"), "partitions": [0, 1]}]
    for each in (
        of(first.member_epoch), of(first.member_epoch, topic_partitions=owned), of(first.member_epoch + 1),
        of(first.member_epoch - 1), of(first.member_epoch, instance_id="i"), of(-2), of(99),
        of(first.member_epoch, subscribed_topic_names=["absent"]), of(0, **joins),
    ):  # fmt: skip
        c.ask(68, each, 1)
    for version in (0, 1):
        for group in ("n2", "absent", "", "as"):
            c.ask(69, {"group_ids": [group]}, version)
        c.ask(69, {"group_ids": []}, version)
        c.ask(69, {"group_ids": ["n2", "n2"], "include_authorized_operations": True}, version)
    c.ask(15, {"groups": ["n2"]}, 6)
    c.ask(42, {"groups_names": ["n2"]}, 2)
    c.ask(12, {"group_id": "n2", "generation_id": 1, "member_id": "a"}, 4)
    c.ask(14, {"group_id": "n2", "generation_id": 1, "member_id": "a"}, 4)
    c.ask(13, {"group_id": "n2", "members": [{"member_id": "b"}]}, 5)
    c.ask(11, _join("n2", "stranger"), 5)
    for epoch, member in ((-1, ""), (1, "a"), (99, "a"), (first.member_epoch, "a"), (1, "b")):
        told = {"topic": "nt", "generation_id_or_member_epoch": epoch, "member_id": member}
        c.ask(8, _commit("n2", 8, **told), 8)
        c.ask(8, _commit("n2", 9, **told), 9)
    c.ask(68, of(-1), 1)
    c.ask(68, of(-1), 1)
    c.ask(42, {"groups_names": ["n2"]}, 2)
    c.ask(69, {"group_ids": ["n2"]}, 1)


STORIES: Iterable[Any] = (consumer_groups, consumers)
