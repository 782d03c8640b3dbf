"""A consumer group through its life: joining, sharing, giving up, leaving; what is refused. The
answers are those of a real Kafka 4.3.1 to the same requests."""

from __future__ import annotations

import pytest

from flowstream.broker.groups.consumer_group import ConsumerState
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.consumer_story import REBALANCE_MS, Consumers


def crew() -> tuple[Consumers, bytes]:
    """One stable member that has all four partitions of `t`."""
    broker = Consumers()
    topic_id = broker.create("t", 4)
    broker.join_as("m1", "t")
    return broker, topic_id


def test_the_first_member_has_all_at_once() -> None:
    broker = Consumers()
    broker.create("t", 4)
    broker.create("u", 2)
    answer = broker.join_as("m1", "t", "u")
    assert (answer.error_code, answer.member_id, answer.member_epoch) == (0, "m1", 2)
    assert answer.heartbeat_interval_ms == 5_000
    assert broker.assigned(answer) == {"t": [0, 1, 2, 3], "u": [0, 1]}
    assert broker.consumer().state is ConsumerState.STABLE
    quiet = broker.beat("m1", 2)
    assert (quiet.member_epoch, quiet.assignment) == (2, None)


def test_before_version_1_the_broker_names_the_member() -> None:
    broker = Consumers()
    answer = broker.join_as("", "t", version=0)
    assert answer.member_id in broker.consumer().members


def test_G4_what_one_member_gives_up_another_gets_afterwards() -> None:
    broker, topic_id = crew()
    joined = broker.join_as("m2", "t")
    # Within the assignment interval the last target stands (KIP-1263).
    assert (joined.member_epoch, broker.assigned(joined)) == (2, {})
    assert broker.consumer().state is ConsumerState.ASSIGNING
    broker.wait(1_000)
    asked = broker.beat("m1", 2)
    assert (asked.member_epoch, broker.assigned(asked)) == (2, {"t": [0, 1]})
    assert broker.consumer().state is ConsumerState.RECONCILING
    waits = broker.beat("m2", 2)
    assert (waits.member_epoch, waits.assignment) == (3, None)
    still = broker.beat("m1", 2, owned={topic_id: range(4)})
    assert (still.member_epoch, still.assignment) == (2, None)
    done = broker.beat("m1", 2, owned={topic_id: range(2)})
    assert (done.member_epoch, done.assignment) == (3, None)
    got = broker.beat("m2", 3)
    assert (got.member_epoch, broker.assigned(got)) == (3, {"t": [2, 3]})
    assert broker.consumer().state is ConsumerState.STABLE


def test_an_answer_that_was_lost_does_not_fence() -> None:
    broker, topic_id = crew()
    broker.wait(1_000)
    broker.join_as("m2", "t")
    broker.beat("m1", 2)
    broker.beat("m1", 2, owned={topic_id: range(2)})
    again = broker.beat("m1", 2, owned={topic_id: range(2)})
    assert (again.error_code, again.member_epoch) == (0, 3)
    assert broker.assigned(again) == {"t": [0, 1]}
    more = broker.beat("m1", 2, owned={topic_id: range(3)})
    assert more.error_code == ErrorCode.FENCED_MEMBER_EPOCH
    unsaid = broker.beat("m1", 2)
    assert unsaid.error_code == ErrorCode.FENCED_MEMBER_EPOCH


def test_who_does_not_give_up_in_time_is_out() -> None:
    broker, _ = crew()
    broker.wait(1_000)
    broker.join_as("m2", "t")
    broker.beat("m1", 2)
    for _ in range(REBALANCE_MS // 5_000):
        broker.wait(5_000)
        broker.beat("m1", 2)
        broker.beat("m2", broker.consumer().members["m2"].epoch)
    gone = broker.beat("m1", 2)
    assert gone.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert sorted(p for _, p, _ in broker.consumer().members["m2"].owned()) == [0, 1, 2, 3]


def test_G7_a_silent_member_is_out_after_its_session() -> None:
    broker, _ = crew()
    broker.wait(1_000)
    broker.join_as("m2", "t")
    for _ in range(9):
        broker.wait(5_000)
        broker.beat("m2", broker.consumer().members["m2"].epoch)
    assert set(broker.consumer().members) == {"m2"}
    broker.beat("m2", broker.consumer().members["m2"].epoch)
    assert sorted(p for _, p, _ in broker.consumer().members["m2"].owned()) == [0, 1, 2, 3]


def test_a_group_has_its_own_session_timeout_within_the_brokers_bounds() -> None:
    broker = Consumers(group_consumer_min_session_timeout_ms=10_000)
    broker.create("t", 1)
    broker.known.configs[32, "g"] = {
        "consumer.session.timeout.ms": "10000",
        "consumer.heartbeat.interval.ms": "1000",
    }
    answer = broker.join_as("m1", "t")
    assert answer.heartbeat_interval_ms == 5_000  # group.consumer.min.heartbeat.interval.ms
    broker.wait(9_999)
    assert set(broker.consumer().members) == {"m1"}
    broker.wait(1)
    assert broker.consumer().state is ConsumerState.EMPTY


def test_leaving_gives_all_to_the_others() -> None:
    broker, _ = crew()
    broker.wait(1_000)
    broker.join_as("m2", "t")
    left = broker.beat("m1", -1)
    assert (left.error_code, left.member_epoch) == (0, -1)
    broker.wait(1_000)
    assert broker.assigned(broker.beat("m2", 3)) == {"t": [0, 1, 2, 3]}


def test_topics_that_come_grow_and_go_are_a_new_assignment() -> None:
    broker = Consumers()
    joined = broker.join_as("m1", "t")
    assert broker.assigned(joined) == {}
    broker.create("t", 2)
    broker.wait(1_000)
    assert broker.assigned(broker.beat("m1", 2)) == {"t": [0, 1]}
    broker.create("t", 3)
    broker.wait(1_000)
    assert broker.assigned(broker.beat("m1", 3)) == {"t": [0, 1, 2]}
    broker.create("other", 1)
    assert broker.beat("m1", 4).member_epoch == 4
    broker.delete("t")
    broker.wait(1_000)
    assert broker.beat("m1", 4).assignment is not None
    assert broker.beat("m1", 4, owned={}).member_epoch == 5


def test_what_is_no_longer_subscribed_to_is_taken_away_at_once() -> None:
    broker, topic_id = crew()
    broker.create("u", 1)
    answer = broker.beat("m1", 2, subscribed_topic_names=("u",))
    assert broker.assigned(answer) == {}
    broker.wait(1_000)
    done = broker.beat("m1", 2, owned={topic_id: ()})
    assert (done.member_epoch, broker.assigned(done)) == (3, {"u": [0]})


def test_a_restart_forgets_nothing_but_sessions() -> None:
    broker, topic_id = crew()
    broker.wait(1_000)
    broker.join_as("m2", "t")
    broker.beat("m1", 2)
    broker.wait(15_000)
    broker.restart()
    broker.wait(REBALANCE_MS - 1)
    done = broker.beat("m1", 2, owned={topic_id: range(2)})
    assert (done.error_code, done.member_epoch) == (0, 3)
    assert broker.assigned(broker.beat("m2", 3)) == {"t": [2, 3]}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"member_id": ""}, ErrorCode.INVALID_REQUEST),
        ({"group": ""}, ErrorCode.INVALID_REQUEST),
        ({"rebalance_timeout_ms": -1}, ErrorCode.INVALID_REQUEST),
        ({"owned": None}, ErrorCode.INVALID_REQUEST),
        ({"owned": {bytes(16): [0]}}, ErrorCode.INVALID_REQUEST),
        ({"subscribed_topic_names": None}, ErrorCode.INVALID_REQUEST),
        ({"instance_id": ""}, ErrorCode.INVALID_REQUEST),
        ({"rack_id": " "}, ErrorCode.INVALID_REQUEST),
        ({"epoch": -3}, ErrorCode.INVALID_REQUEST),
        ({"epoch": -2}, ErrorCode.INVALID_REQUEST),
        ({"epoch": -1}, ErrorCode.GROUP_ID_NOT_FOUND),
        ({"epoch": 5}, ErrorCode.GROUP_ID_NOT_FOUND),
        ({"server_assignor": "sticky"}, ErrorCode.UNSUPPORTED_ASSIGNOR),
        ({"subscribed_topic_regex": "(a"}, ErrorCode.INVALID_REGULAR_EXPRESSION),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    said: dict[str, object], error: ErrorCode
) -> None:
    broker = Consumers()
    whole: dict[str, object] = {
        "member_id": "m1",
        "epoch": 0,
        "owned": {},
        "rebalance_timeout_ms": 1_000,
        "subscribed_topic_names": ("t",),
    }
    answer = broker.beat(**{**whole, **said})  # type: ignore[arg-type]
    assert answer.error_code == error
    assert answer.error_message
    assert not broker.log
    assert not broker.core.consumers


def test_strangers_are_refused() -> None:
    broker, _ = crew()
    assert broker.beat("m9", 2).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert broker.beat("m9", -1).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert broker.beat("m1", 1).error_code == ErrorCode.FENCED_MEMBER_EPOCH
    assert broker.beat("m1", 3).error_code == ErrorCode.FENCED_MEMBER_EPOCH


def test_a_full_group_takes_nobody() -> None:
    broker = Consumers(group_consumer_max_size=1)
    broker.join_as("m1", "t")
    assert broker.join_as("m2", "t").error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert broker.beat("m1", 2).error_code == 0


def test_a_static_member_comes_back_to_what_it_had() -> None:
    broker = Consumers()
    broker.create("t", 2)
    broker.join_as("s1", "t", instance_id="i")
    taken = broker.join_as("s2", "t", instance_id="i")
    assert taken.error_code == ErrorCode.UNRELEASED_INSTANCE_ID
    away = broker.beat("s1", -2, instance_id="i")
    assert (away.error_code, away.member_epoch) == (0, -2)
    broker.wait(10_000)
    back = broker.join_as("s2", "t", instance_id="i")
    assert (back.member_epoch, broker.assigned(back)) == (2, {"t": [0, 1]})
    assert broker.consumer().epoch == 2, "no rebalance"
    late = broker.beat("s1", 2, instance_id="i")
    assert late.error_code == ErrorCode.FENCED_INSTANCE_ID
    unknown = broker.beat("s2", 2, instance_id="j")
    assert unknown.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert broker.beat("s2", -1, instance_id="i").error_code == 0
    assert broker.consumer().is_empty


def test_a_static_member_that_stays_away_is_out_after_its_session() -> None:
    broker = Consumers()
    broker.join_as("s1", "t", instance_id="i")
    broker.beat("s1", -2, instance_id="i")
    broker.wait(45_000)
    assert broker.consumer().is_empty


def test_G7_a_static_member_that_went_away_need_not_give_up_any_more() -> None:
    broker = Consumers()
    t = broker.create("t", 2)
    broker.join_as("s1", "t", instance_id="i", rebalance_ms=5_000)
    broker.wait(1_000)
    broker.join_as("m2", "t")
    told = broker.beat("s1", 2, owned={t: [0, 1]})
    assert broker.assigned(told) == {"t": [0]}, "it has 5 s to give up the other one"
    broker.beat("s1", -2, instance_id="i")
    broker.wait(2_000)
    broker.restart()
    broker.wait(10_000)
    assert "s1" in broker.consumer().members
    back = broker.join_as("s2", "t", instance_id="i")
    assert (back.error_code, broker.assigned(back)) == (0, {"t": [0]})


def test_G7_a_static_member_that_was_fenced_joins_again() -> None:
    """Kafka refuses it its own instance id until its session ends."""
    broker = Consumers()
    broker.create("t", 1)
    broker.join_as("s1", "t", instance_id="i")
    assert broker.beat("s1", 9, instance_id="i").error_code == ErrorCode.FENCED_MEMBER_EPOCH
    again = broker.join_as("s1", "t", instance_id="i")
    assert (again.error_code, broker.assigned(again)) == (0, {"t": [0]})
    assert broker.replayed().durable() == broker.core.durable()


def test_G7_who_comes_back_to_a_full_group_takes_its_place() -> None:
    broker = Consumers(group_consumer_max_size=1)
    broker.join_as("s1", "t", instance_id="i")
    broker.beat("s1", -2, instance_id="i")
    assert broker.join_as("m2", "t").error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert broker.join_as("s2", "t", instance_id="i").error_code == ErrorCode.NONE


def test_an_instance_id_that_its_member_changed_is_free() -> None:
    broker = Consumers()
    broker.join_as("s1", "t", instance_id="i")
    broker.join_as("s1", "t", instance_id="j")
    assert broker.join_as("s2", "t", instance_id="i").error_code == ErrorCode.NONE
    assert broker.consumer().static_members == {"j": "s1", "i": "s2"}


def test_a_regular_expression_follows_the_topics() -> None:
    broker = Consumers()
    broker.create("data-1", 1)
    broker.create("other", 1)
    answer = broker.join_as("m1", subscribed_topic_regex="data-[0-9]+")
    assert broker.assigned(answer) == {"data-1": [0]}
    broker.create("data-2", 1)
    assert broker.beat("m1", 2).assignment is None, "new topics are looked for every 10 s"
    broker.wait(10_001)
    assert broker.assigned(broker.beat("m1", 2)) == {"data-1": [0], "data-2": [0]}
    broker.restart()
    broker.beat("m1", 3, subscribed_topic_names=("other",), subscribed_topic_regex="")
    assert not broker.consumer().regexes


def test_X3_a_pattern_that_backtracking_would_never_finish() -> None:
    broker = Consumers()
    broker.create("a" * 249, 1)
    answer = broker.join_as("m1", subscribed_topic_regex="(a+a+)+b")
    assert (answer.error_code, broker.assigned(answer)) == (0, {})
    huge = broker.join_as("m2", subscribed_topic_regex="((a{900}){900}){900}")
    assert huge.error_code == ErrorCode.INVALID_REGULAR_EXPRESSION


def test_the_assignor_that_most_ask_for() -> None:
    broker = Consumers()
    broker.create("t", 1)
    broker.create("u", 1)
    broker.join_as("a", "t", "u", server_assignor="range")
    broker.wait(1_000)
    broker.join_as("b", "t", "u", server_assignor="range")
    target = broker.consumer().targets
    assert len(target["a"]) == 2, "range gives both single partitions to the first"
    assert target["b"] == {}


def test_G7_a_clock_set_back_over_a_restart_leaves_no_partition_without_an_owner() -> None:
    broker = Consumers()
    broker.create("t", 2)
    broker.join_as("gone", "t")
    broker.now = Instant(broker.now - 86_400_000)
    broker.restart()
    broker.beat("gone", -1)
    answer = broker.join_as("here", "t")
    assert broker.assigned(answer) == {"t": [0, 1]}


def test_G7_a_clock_set_back_over_a_restart_hides_no_topic_from_a_pattern() -> None:
    broker = Consumers()
    broker.create("t-0", 1)
    broker.join_as("m", subscribed_topic_regex="t-.*")
    broker.now = Instant(broker.now - 86_400_000)
    broker.restart()
    broker.create("t-1", 1)
    assert broker.assigned(broker.beat("m", 2)) == {"t-0": [0], "t-1": [0]}
