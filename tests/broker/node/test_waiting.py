"""What waits: answered once, when its partition moves, its deadline comes, or never."""

from __future__ import annotations

from flowstream.broker.effects import Close, Effect
from flowstream.broker.types import ConnectionId, Instant, TopicPartition
from flowstream.broker.waiting import AT_ONCE, SLACK, Parked, Waiting

A, B = TopicPartition("t", 0), TopicPartition("t", 1)
ONE = ConnectionId(1)


def parked(*partitions: TopicPartition, deadline: int = 100, ready: bool = True) -> Parked:
    """A request that answers with its deadline, when `ready` or at its last attempt."""

    def attempt(now: Instant, last: bool) -> list[Effect] | None:
        return [Close(ONE, str(deadline))] if ready or last else None

    return Parked(ONE, partitions, Instant(deadline), attempt)


def reasons(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Close)]


def test_a_partition_that_moves_answers_once() -> None:
    waiting = Waiting()
    waiting.park(parked(A, B))
    assert reasons(waiting.moved([B], Instant(1))) == ["100"]
    assert waiting.moved([A, B], Instant(2)) == []
    assert waiting.expire(Instant(1000)) == []
    assert waiting.deadline() is None


def test_one_that_wants_more_waits_on_until_its_deadline() -> None:
    waiting = Waiting()
    waiting.park(parked(A, ready=False, deadline=50))
    assert waiting.moved([A], Instant(1)) == []
    assert waiting.deadline() == 50
    assert waiting.expire(Instant(49)) == []
    assert reasons(waiting.expire(Instant(50))) == ["50"]


def test_deadlines_come_in_order() -> None:
    waiting = Waiting()
    for deadline in (30, 10, 20):
        waiting.park(parked(A, ready=False, deadline=deadline))
    assert reasons(waiting.expire(Instant(25))) == ["10", "20"]
    assert waiting.deadline() == 30


def test_a_lost_connection_is_forgotten() -> None:
    waiting = Waiting()
    waiting.park(parked(A))
    waiting.disconnected(ONE)
    assert waiting.moved([A], Instant(1)) == []
    assert waiting.deadline() is None
    waiting.disconnected(ONE)


def test_X3_answered_requests_leave_nothing_behind() -> None:
    waiting = Waiting()
    for _ in range(10_000):
        waiting.park(parked(A, deadline=2**62))
        waiting.moved([A], Instant(1))
    assert len(waiting._deadlines) <= SLACK + 1
    assert not waiting._by_partition
    assert not waiting._by_connection


class Room:
    """So many answers of a turn are read."""

    def __init__(self) -> None:
        self.left = 0

    def __call__(self) -> bool:
        self.left -= 1
        return self.left >= 0


def test_X3_what_there_is_no_room_for_is_postponed_first_come_first_served() -> None:
    room = Room()
    waiting = Waiting(has_room=room)
    for deadline in (30, 10, 20, 40):
        waiting.park(parked(A, deadline=deadline))
    room.left = 1
    assert reasons(waiting.moved([A], Instant(1))) == ["30"]
    assert waiting.deadline() == AT_ONCE
    room.left = 2
    waiting.park(parked(B, deadline=50), postponed=not waiting.admits())
    assert reasons(waiting.expire(Instant(1))) == ["10", "20"]
    room.left = 2
    assert reasons(waiting.expire(Instant(1))) == ["40", "50"]
    assert waiting.deadline() is None


def test_X3_who_is_postponed_for_the_last_time_is_answered_whatever_there_is() -> None:
    room = Room()
    waiting = Waiting(has_room=room)
    waiting.park(parked(A, ready=False, deadline=10))
    waiting.park(parked(A, ready=False, deadline=99))
    assert reasons(waiting.expire(Instant(10))) == []
    assert waiting.moved([A], Instant(11)) == []
    room.left = 9
    assert reasons(waiting.expire(Instant(12))) == ["10"]
    assert waiting.deadline() == 99, "the other one waits on"


def test_nobody_is_left_of_a_postponed_request_whose_connection_is_gone() -> None:
    waiting = Waiting(has_room=Room())
    waiting.park(parked(A), postponed=True)
    assert waiting.deadline() == AT_ONCE
    waiting.disconnected(ONE)
    assert waiting.deadline() is None
