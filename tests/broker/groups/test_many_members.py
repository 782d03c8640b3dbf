"""What most requests of thousands of members cost does not grow with their number (X4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.consumer_story import Consumers
from tests.broker.groups.story import Groups


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
