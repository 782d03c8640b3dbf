"""What most requests of thousands of members cost does not grow with their number (X4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowstream.broker.groups.room import BROKER_BYTES, GROUPS_A_MS, Room
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.consumer_story import Consumers
from tests.broker.groups.story import Groups

NOW = Instant(1_700_000_000_000)


class Watched(dict[str, Any]):
    """Members, and how often somebody goes through all of them."""

    looks = 0

    def _look(self) -> None:
        self.looks += 1

    def __iter__(self) -> Iterator[str]:
        self._look()
        return super().__iter__()

    def keys(self) -> Any:
        self._look()
        return super().keys()

    def values(self) -> Any:
        self._look()
        return super().values()

    def items(self) -> Any:
        self._look()
        return super().items()


def test_X4_a_join_goes_not_through_all_members() -> None:
    """A group of 4,000 members cost the loop 10 ms for each join, and a rebalance 4,000 of them."""
    broker = Groups()
    broker.crew(3)
    broker.enter()
    members = Watched(broker.group().members)
    broker.group().members = members
    broker.enter()
    assert len(members) == 5
    assert members.looks == 0


def test_X4_a_heartbeat_that_says_nothing_new_goes_not_through_all_members() -> None:
    broker = Consumers()
    broker.create("t", 2)
    broker.join_as("m0", "t")
    broker.join_as("m1", "t")
    broker.wait(1_000)
    epoch = broker.beat("m0", 2).member_epoch
    members = Watched(broker.consumer().members)
    broker.consumer().members = members
    assert broker.beat("m0", epoch).error_code == ErrorCode.NONE
    assert members.looks == 0


def test_X4_a_look_at_offsets_goes_through_the_members_once() -> None:
    """Of 400 members with a pattern each offset that nobody reads cost 4 ms: 5,000 of them held the
    loop for 20 s."""
    broker = Consumers(offsets_retention_check_interval_ms=1_000)
    broker.create("t", 2)
    for number in range(20):
        assert broker.commit(1, partition=TopicPartition("u", number)) == ErrorCode.NONE
    broker.join_as("m0", subscribed_topic_regex="t.*")
    members = Watched(broker.consumer().members)
    broker.consumer().members = members
    broker.wait(1_000)
    assert members.looks == 1
    assert broker.consumer().is_subscribed("t")
    broker.beat("m0", 2, subscribed_topic_names=("u",), subscribed_topic_regex="")
    assert broker.consumer().is_subscribed("u")
    assert not broker.consumer().is_subscribed("t")


@dataclass
class Heavy:
    """A group that weighs something."""

    group_id: str = "g"
    weight: int = BROKER_BYTES // 1_000


def test_X4_a_full_broker_does_not_weigh_all_groups_for_each_that_asks() -> None:
    """Of a hundred thousand groups each refused join cost 14 ms."""
    groups = [Heavy() for _ in range(1_000)]
    weighed = []

    def all_groups() -> list[Heavy]:
        weighed.append(len(groups))
        return groups

    room = Room(all_groups)
    newcomer = Heavy(weight=0)
    assert not any(room.admits(newcomer, 1 << 20, NOW) for _ in range(100))
    assert len(weighed) == 1
    del groups[:100]
    assert room.admits(newcomer, 1 << 20, Instant(NOW + 1_000 // GROUPS_A_MS))


def test_V1_who_asks_for_little_is_let_in_behind_one_that_asked_for_too_much() -> None:
    """Java's consumers give up for good when they are told that there is no room: a hundred were
    told so of a broker that had gone empty meanwhile.
    """
    groups = [Heavy() for _ in range(900)]
    room, newcomer = Room(lambda: groups), Heavy(weight=0)
    assert not room.admits(newcomer, 16 << 20, NOW)
    room.weigh_anew()
    assert room.admits(newcomer, 1 << 10, NOW)
    assert not room.admits(newcomer, 16 << 20, NOW)
    groups.clear()
    assert room.admits(newcomer, 16 << 20, Instant(NOW + 1_000 // GROUPS_A_MS))
