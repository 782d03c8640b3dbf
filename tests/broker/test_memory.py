"""What connections hold together: who is let go, and what an answer may carry."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.memory import LEAST_ANSWER, SPARE, Memory
from flowstream.broker.server.limits import SHARE, connection_memory, memory_there_is
from flowstream.broker.types import ConnectionId

MIB = 1024 * 1024


def test_what_is_left_lying_goes_before_what_has_just_come() -> None:
    memory = Memory(100)
    memory.hold(ConnectionId(1), 30, now=0.0)
    memory.hold(ConnectionId(2), 10, now=0.0)
    memory.hold(ConnectionId(3), 61, now=9.0)
    assert memory.is_over
    assert memory.costliest(now=10.0) == [ConnectionId(1)]


def test_of_those_who_came_together_whoever_holds_most_goes() -> None:
    memory = Memory(100)
    for number, amount in enumerate((10, 70, 30)):
        memory.hold(ConnectionId(number), amount, now=5.0)
    assert memory.costliest(now=5.0) == [ConnectionId(1)]


def test_once_somebody_looked_a_part_is_free() -> None:
    """Else every byte more would have all of them looked at again."""
    memory = Memory(1600)
    for number in range(160):
        memory.hold(ConnectionId(number), 10, now=float(number))
    assert memory.costliest(now=200.0) == [ConnectionId(number) for number in range(10)]


def test_X3_the_last_that_holds_anything_stays() -> None:
    """One batch may be larger than the bound: its reader would never get on (KIP-74)."""
    memory = Memory(100)
    memory.hold(ConnectionId(1), 10, now=0.0)
    memory.hold(ConnectionId(2), 5000, now=1.0)
    assert memory.costliest(now=1.0) == [ConnectionId(1)]
    memory.hold(ConnectionId(1), 0, now=1.0)
    assert memory.is_over
    assert memory.costliest(now=60.0) == []


def test_X3_a_turn_reads_what_there_is_room_for_and_one_answer_in_any_case() -> None:
    memory = Memory(100)
    assert memory.has_room()
    memory.read = 99
    assert memory.has_room()
    memory.read = 100
    assert not memory.has_room()
    memory.read = 0
    memory.hold(ConnectionId(1), 100, now=0.0)
    assert memory.has_room(), "the first one of a turn: else nobody went on"
    memory.read = 1
    assert not memory.has_room()


def test_who_reads_a_byte_now_and_then_grows_old_all_the_same() -> None:
    memory = Memory(100)
    memory.hold(ConnectionId(1), 50, now=0.0)
    for second in range(1, 40):
        memory.hold(ConnectionId(1), 50 - second // 10, now=float(second))
    memory.hold(ConnectionId(2), 60, now=39.0)
    assert memory.costliest(now=40.0) == [ConnectionId(1)]


def test_nobody_goes_while_there_is_room() -> None:
    memory = Memory(100)
    memory.hold(ConnectionId(1), 47, now=0.0)
    memory.hold(ConnectionId(2), 47, now=0.0)
    assert memory.costliest(now=1e9) == []


def test_answers_share_what_is_left_and_are_never_empty() -> None:
    memory = Memory(MIB)
    assert memory.answer_room == MIB
    memory.hold(ConnectionId(1), MIB // 2, now=0.0)
    memory.read = MIB // 4
    assert memory.answer_room == MIB // 4
    memory.hold(ConnectionId(2), MIB, now=0.0)
    assert memory.answer_room == LEAST_ANSWER


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 1000), st.floats(0, 100)),
        min_size=1,
        max_size=60,
    )
)
def test_X3_it_is_never_overdrawn_for_longer_than_a_moment(
    steps: list[tuple[int, int, float]],
) -> None:
    memory = Memory(2000)
    kept: dict[int, int] = {}
    now = 0.0
    for who, amount, later in steps:
        now += later
        memory.hold(ConnectionId(who), amount, now)
        kept[who] = amount
        gone = memory.costliest(now) if memory.is_over else []
        assert bool(gone) == memory.is_over
        for each in gone:
            memory.hold(each, 0, now)
            kept[each] = 0
        if gone:
            assert memory.held <= memory.most - memory.most // SPARE
        assert memory.held == sum(kept.values()) <= memory.most
        assert set(memory.holders) == {each for each, held in kept.items() if held}


def test_the_bound_is_a_share_of_the_memory_or_as_set_but_holds_the_largest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    least = connection_memory(BrokerConfig(), 1)
    assert least >= 2 * BrokerConfig().socket_request_max_bytes
    assert connection_memory(BrokerConfig(), 64 << 30) == (64 << 30) // SHARE
    given = BrokerConfig.of({"queued.max.request.bytes": str(1 << 30)})
    assert connection_memory(given, 64 << 30) == 1 << 30
    small = BrokerConfig.of({"queued.max.request.bytes": "104857600"})
    assert connection_memory(small, 64 << 30) == least
    (told,) = caplog.messages
    assert told.startswith(f"queued.max.request.bytes={small.queued_max_request_bytes} is less")
    assert told.endswith(f"{least} is the bound")


def test_a_bound_below_one_request_is_refused_as_in_kafka() -> None:
    with pytest.raises(ConfigError, match="104857600: raise the one"):
        BrokerConfig.of({"queued.max.request.bytes": "1000"})


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/app/broker", "app/memory.max"),
        ("0::/app/broker", "app/broker/memory.max"),
        ("0::/", "memory.max"),
        ("0::/seen/only/outside", "memory.max"),
        ("4:cpu,memory:/app", "memory/app/memory.limit_in_bytes"),
        ("4:memory:/docker/0123", "memory/memory.limit_in_bytes"),
    ],
)
def test_a_control_groups_limit_counts(tmp_path: Path, line: str, file: str) -> None:
    groups = tmp_path / "cgroup"
    groups.write_text(f"9:pids:/elsewhere\n{line}\n")
    limit = tmp_path / "sys" / file
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n")
    without = memory_there_is(groups, tmp_path / "sys")
    limit.write_text(f"{64 * MIB}\n")
    assert memory_there_is(groups, tmp_path / "sys") == 64 * MIB < without
    assert without == memory_there_is(tmp_path / "absent", tmp_path / "sys")
