"""Deadlines: in order, never too late, and thousands at once (X4)."""

from __future__ import annotations

import random

import pytest

from flowstream.broker.groups import coordinator
from flowstream.broker.groups.coordinator import GROUPS_AT_ONCE
from flowstream.broker.groups.timers import Timers
from flowstream.broker.types import Instant, TopicPartition
from tests.broker.groups.story import SESSION_MS, Groups

DAY_MS = 86_400_000


class Counted:
    """A key that counts how often anybody looks it up."""

    looks = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return id(self)


def taken(timers: Timers[str], now: int) -> list[str]:
    found = []
    while (key := timers.take_due(Instant(now))) is not None:
        found.append(key)
    return found


def test_what_is_due_comes_in_order() -> None:
    timers = Timers[str]()
    for key, at in (("c", 30), ("a", 10), ("b", 20), ("later", 99), ("also a", 10)):
        timers.set(key, Instant(at))
    assert timers.soonest == 10
    assert taken(timers, 30) == ["a", "also a", "b", "c"]
    assert timers.soonest == 99
    assert taken(timers, 98) == []


def test_what_is_moved_or_cancelled_while_others_are_taken_is_not_due() -> None:
    timers = Timers[str]()
    for number, key in enumerate("abcd"):
        timers.set(key, Instant(number))
    assert timers.take_due(Instant(9)) == "a"
    timers.set("b", Instant(20))
    timers.cancel("c")
    timers.set("new", Instant(9))
    assert taken(timers, 9) == ["d", "new"]
    assert timers.soonest == 20


def test_X4_thousands_that_are_due_together_are_looked_at_once_each() -> None:
    """A group of five thousand members that are gone after a restart took half a second."""
    timers = Timers[Counted]()
    keys = [Counted() for _ in range(2_000)]
    random.Random(1).shuffle(keys)
    for number, key in enumerate(keys):
        timers.set(key, Instant(number % 7))
    Counted.looks = 0
    while timers.take_due(Instant(7)) is not None:
        pass
    assert timers.soonest is None
    assert Counted.looks < 10 * len(keys)


def test_X4_groups_whose_time_is_over_together_have_several_ticks() -> None:
    groups = Groups()
    names = [f"g{number}" for number in range(GROUPS_AT_ONCE + 10)]
    for name in names:
        groups.enter(group=name)
        groups.share(name)
    groups.restart()
    groups.now = Instant(groups.now + SESSION_MS)
    first = groups.core.tick(groups.now)
    assert len(first) == GROUPS_AT_ONCE
    due = groups.core.deadline()
    assert due is not None
    assert due <= groups.now
    second = groups.core.tick(groups.now)
    assert {name for name, _ in (*first, *second)} == set(names)


def test_X4_offsets_expire_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "OFFSETS_AT_ONCE", 10)
    groups = Groups(offsets_retention_minutes=1440)
    for name in ("a", "b", "c", "d", "e"):
        for number in range(6):
            groups.commit(1, group=name, partition=TopicPartition("t", number))
    groups.now = Instant(groups.now + DAY_MS)
    looked_at = []
    while not looked_at or groups.core.groups:
        decided = groups.core.tick(groups.now)
        looked_at.append([name for name, _ in decided])
        for _, decision in decided:
            groups.take(decision)
        due = groups.core.deadline()
        assert due is not None
        groups.now = Instant(due)
    assert looked_at == [["a", "b"], ["c", "d"], ["e"]]
    assert groups.replayed().durable() == groups.core.durable()
