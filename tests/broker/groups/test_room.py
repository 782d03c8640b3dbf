"""What members say is bounded, in a group and in all of them, and given back when they go (X3)."""

from __future__ import annotations

import pytest

from flowstream.broker.groups import consumer_heartbeat, group, room
from flowstream.broker.groups.states import State
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.consumer_story import Consumers
from tests.broker.groups.story import Groups, subscription

KIB = 1024
FULL = ErrorCode.GROUP_MAX_SIZE_REACHED


def said(size: int) -> dict[str, object]:
    return {"protocols": (("range", b"m" * size),)}


def names(count: int) -> tuple[str, ...]:
    return tuple(f"topic-{number:04d}-{'n' * 90}" for number in range(count))


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "GROUP_BYTES", 64 * KIB)
    monkeypatch.setattr(room, "BROKER_BYTES", 160 * KIB)


def test_X3_what_members_of_a_group_say_is_bounded_and_given_back() -> None:
    groups = Groups()
    member, _ = groups.enter(**said(40 * KIB))
    refused = groups.answers[groups.join(**said(40 * KIB))]
    assert (refused.error_code, refused.member_id) == (FULL, "")
    groups.wait(3_000)
    assert groups.leave((member, None)) == [ErrorCode.NONE]
    assert groups.group().weight == 0
    groups.enter(**said(40 * KIB))
    assert len(groups.group().members) == 1


def test_X3_a_member_that_says_too_much_later_is_refused_and_stays() -> None:
    groups = Groups(group_initial_rebalance_delay_ms=0)
    (member,) = groups.crew(1, **said(1 * KIB))
    assert groups.answers[groups.join(member, **said(70 * KIB))].error_code == FULL
    assert groups.heartbeat(member) == ErrorCode.NONE
    again = groups.join(member, **said(50 * KIB))
    assert groups.answers[again].error_code == ErrorCode.NONE, "what fits in its old place"


def test_X3_ids_that_were_given_out_are_weighed() -> None:
    groups = Groups()
    errors = {groups.answers[groups.join()].error_code for _ in range(100)}
    assert errors == {ErrorCode.MEMBER_ID_REQUIRED, FULL}
    groups.wait(10_000)
    assert groups.group().weight == 0, "nobody came back with one"


def test_X3_assignments_too_large_to_keep_are_nobodys() -> None:
    groups = Groups(group_initial_rebalance_delay_ms=0)
    leader, follower = groups.crew(2)
    groups.join(leader)
    groups.join(follower)
    waits = groups.sync(follower)
    shares = {leader: bytes(40 * KIB), follower: bytes(40 * KIB)}
    brings = groups.sync(leader, None, shares)
    assert [groups.answers[each].error_code for each in (waits, brings)] == [FULL, FULL]
    assert groups.group().state is State.PREPARING_REBALANCE
    joins = groups.join(leader), groups.join(follower)
    assert [groups.answers[each].error_code for each in joins] == [0, 0]
    groups.share()
    assert groups.group().state is State.STABLE
    groups.wait(60_000)
    assert groups.group().weight == 0, "sessions went on after the refusal"


def test_X3_all_groups_together_are_bounded() -> None:
    groups = Groups(group_initial_rebalance_delay_ms=0)
    crews = {name: groups.crew(1, group=name, **said(50 * KIB)) for name in "abc"}
    assert groups.answers[groups.join(group="d", **said(50 * KIB))].error_code == FULL
    assert groups.heartbeat(crews["a"][0], group="a") == ErrorCode.NONE
    groups.restart()
    assert groups.answers[groups.join(group="d", **said(50 * KIB))].error_code == FULL
    groups.leave((crews["a"][0], None), group="a")
    groups.enter(group="d", **said(50 * KIB))


def test_X4_a_generation_begins_though_its_members_name_too_much_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "NAMES", 3)
    groups = Groups(group_initial_rebalance_delay_ms=0)
    same = (("range", subscription("a", "b")),)
    groups.crew(2, protocols=same)
    assert groups.group().subscribed == {"a", "b"}, "what two say alike is read once"
    groups.enter(protocols=(("range", subscription("c", "d")),))
    for member in list(groups.group().members)[:2]:
        groups.join(member, protocols=same)
    assert groups.group().state is State.COMPLETING_REBALANCE
    assert groups.group().subscribed is None, "not known, so no offset expires"


def test_X3_what_consumers_of_the_new_protocol_subscribe_to_is_bounded() -> None:
    broker = Consumers()
    assert broker.join_as("m1", *names(200)).error_code == ErrorCode.NONE
    refused = broker.join_as("m2", *names(200))
    assert (refused.error_code, "may say no more" in refused.error_message) == (FULL, True)
    assert list(broker.consumer().members) == ["m1"]
    epoch = broker.beat("m1", 2).member_epoch
    assert broker.beat("m1", epoch, subscribed_topic_names=names(400)).error_code == FULL
    assert broker.beat("m1", epoch).error_code == ErrorCode.NONE, "it goes on as it was"
    weight = broker.consumer().weight
    broker.restart()
    assert broker.consumer().weight == weight
    broker.beat("m1", -1)
    assert broker.consumer().weight == 0
    assert broker.join_as("m2", *names(200)).error_code == ErrorCode.NONE


def test_X3_classic_members_of_a_consumer_group_are_weighed() -> None:
    broker = Consumers(group_consumer_migration_policy="bidirectional")
    broker.join_as("m1", *names(200))
    heavy = subscription("t") + bytes(60 * KIB)
    answer = broker.answers[broker.join(protocols=(("range", heavy),))]
    # The first join gives out an id only.
    again = broker.join(answer.member_id, protocols=(("range", heavy),))
    assert broker.answers[again].error_code == FULL


def test_X3_a_group_has_a_bounded_number_of_regular_expressions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(room, "BROKER_BYTES", 1 << 20)
    broker = Consumers()
    broker.create("t", 1)
    for number in range(room.PATTERNS):
        joined = broker.join_as(f"m{number}", subscribed_topic_regex=f"t|{number}")
        assert joined.error_code == ErrorCode.NONE
    refused = broker.join_as("more", subscribed_topic_regex="t|more")
    assert (refused.error_code, "64 regular" in refused.error_message) == (FULL, True)
    assert broker.join_as("same", subscribed_topic_regex="t|7").error_code == ErrorCode.NONE
    last = broker.consumer().members["m0"]
    other = broker.beat("m0", last.epoch, owned={}, subscribed_topic_regex="t|another")
    assert other.error_code == ErrorCode.NONE, "in the place of its own"
    for name in list(broker.consumer().members):
        broker.beat(name, -1)
    assert (broker.consumer().weight, broker.consumer().regexes) == (0, {})


def test_X4_one_heartbeat_matches_a_bounded_part_of_the_patterns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_heartbeat, "MATCHES", 6)
    broker = Consumers()
    broker.create("a1", 1)
    for number in range(5):
        broker.join_as(f"m{number}", subscribed_topic_regex=f"a.*|{number}")
        broker.wait(1)
    broker.create("a2", 1)
    broker.wait(10_001)
    resolved = []
    for _ in range(3):
        broker.beat("m0", broker.consumer().members["m0"].epoch)
        news = [len(each.topics) == 2 for each in broker.consumer().regexes.values()]
        resolved.append(sum(news))
    assert resolved == [3, 5, 5], "two topics: three patterns at a time"
