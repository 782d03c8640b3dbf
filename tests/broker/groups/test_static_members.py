"""Static members (KIP-345): who comes back with its instance id takes its old place."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.groups.rebalance import ROUND_MS
from flowstream.broker.groups.states import State
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.story import REBALANCE_MS, SESSION_MS, Groups


def pair(**more: Any) -> tuple[Groups, str, str]:
    """A stable group of static members `one`, which leads, and `two`."""
    groups = Groups()
    one = groups.answers.pop(groups.join(instance="one", **more)).member_id
    waiting = groups.join(instance="two", **more)
    groups.join(one, instance="one", **more)
    two = groups.answers.pop(waiting).member_id
    groups.share()
    groups.answers.clear()
    return groups, one, two


def test_a_static_member_needs_no_second_join() -> None:
    groups, one, two = pair()
    assert one.startswith("one-")
    assert groups.group().static_members == {"one": one, "two": two}


def test_a_member_that_comes_back_keeps_its_share_without_a_rebalance() -> None:
    groups, one, two = pair()
    generation = groups.group().generation
    back = groups.answers.pop(groups.join(instance="two"))
    assert (back.error_code, back.generation_id, back.skip_assignment) == (0, generation, False)
    assert back.member_id not in (one, two)
    assert groups.group().state is State.STABLE
    synced = groups.answers.pop(groups.sync(back.member_id, generation, instance="two"))
    assert synced.assignment == two.encode()
    groups.restart()
    assert groups.group().static_members["two"] == back.member_id


def test_a_leader_that_comes_back_skips_the_assignment() -> None:
    groups, _, two = pair()
    back = groups.answers.pop(groups.join(instance="one"))
    assert back.leader == back.member_id
    assert back.skip_assignment
    assert {each.member_id for each in back.members} == {back.member_id, two}


def test_a_leader_whose_client_cannot_skip_is_told_that_its_old_self_leads() -> None:
    groups, one, _ = pair()
    back = groups.answers.pop(groups.join(instance="one", version=8))
    assert (back.leader, back.members, back.skip_assignment) == (one, (), False)


def test_who_holds_the_old_id_is_fenced() -> None:
    groups, _, two = pair()
    new = groups.answers.pop(groups.join(instance="two")).member_id
    generation = groups.group().generation
    fenced = ErrorCode.FENCED_INSTANCE_ID
    assert groups.heartbeat(two, generation, instance="two") == fenced
    assert groups.answers.pop(groups.join(two, instance="two")).error_code == fenced
    assert groups.answers.pop(groups.sync(two, generation, instance="two")).error_code == fenced
    assert groups.commit(1, two, generation, instance="two") == fenced
    assert groups.commit_in_transaction(1, 7, two, generation, instance="two") == fenced
    assert groups.leave((two, "two")) == [fenced]
    assert groups.heartbeat(two, generation) == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.heartbeat(new, generation, instance="two") == ErrorCode.NONE


def test_a_join_that_waits_under_the_old_id_is_fenced() -> None:
    groups, _, two = pair()
    waiting = groups.join(two, instance="two", protocols=(("range", b"changed"),))
    assert waiting not in groups.answers
    groups.join(instance="two")
    assert groups.answers.pop(waiting).error_code == ErrorCode.FENCED_INSTANCE_ID


def test_V1_who_takes_its_place_again_while_its_first_join_waits_waits_on() -> None:
    """It was taken for a new member, whose join is given up after a time: that of its session."""
    groups, one, two = pair()
    groups.join(instance="three")
    back = groups.join(instance="three")
    groups.heartbeat(one, instance="one")
    groups.heartbeat(two, instance="two")
    groups.wait(SESSION_MS - 1)
    for each, instance in ((one, "one"), (two, "two")):
        groups.heartbeat(each, instance=instance)
    groups.wait(2)
    assert back not in groups.answers
    groups.join(one, instance="one")
    groups.join(two, instance="two")
    assert groups.answers[back].error_code == ErrorCode.NONE


def test_a_sync_that_waits_under_the_old_id_is_fenced_and_the_rebalance_begins_again() -> None:
    groups, one, two = pair()
    groups.join(one, instance="one")
    groups.join(two, instance="two")
    waiting = groups.sync(two, instance="two")
    assert waiting not in groups.answers
    groups.join(instance="two")
    assert groups.answers.pop(waiting).error_code == ErrorCode.FENCED_INSTANCE_ID
    assert groups.group().state is State.PREPARING_REBALANCE


def test_changed_metadata_that_changes_no_protocol_causes_no_rebalance() -> None:
    groups, _, _ = pair()
    groups.join(instance="two", protocols=(("range", b"changed"),))
    assert groups.group().state is State.STABLE


def test_a_choice_of_another_protocol_does() -> None:
    both = (("range", b""), ("sticky", b""))
    groups, _, _ = pair(protocols=both)
    groups.join(instance="two", protocols=(("sticky", b""),))
    assert groups.group().state is State.PREPARING_REBALANCE


def test_a_static_member_that_is_away_keeps_its_place_for_its_session() -> None:
    groups, one, two = pair(session_ms=REBALANCE_MS * 3)
    waiting = groups.join(one, instance="one", session_ms=REBALANCE_MS * 3)
    groups.wait(REBALANCE_MS)
    joined = groups.answers.pop(waiting)
    assert {each.member_id for each in joined.members} == {one, two}


def test_when_only_absent_static_members_are_left_their_sessions_decide() -> None:
    groups, one, two = pair(session_ms=REBALANCE_MS + SESSION_MS)
    groups.leave((one, "one"))
    assert groups.group().state is State.PREPARING_REBALANCE
    groups.wait(REBALANCE_MS)
    assert list(groups.group().members) == [two]
    groups.wait(SESSION_MS)
    assert groups.group().state is State.EMPTY


@pytest.mark.parametrize("rebalance_ms", [0, -(1 << 31)])
def test_X4_absent_static_members_that_asked_for_no_time_hold_up_nobody(rebalance_ms: int) -> None:
    """Their rounds had no end: one such group stopped the broker."""
    groups, one, two = pair(session_ms=SESSION_MS, rebalance_ms=rebalance_ms)
    groups.leave((one, "one"))
    groups.wait(ROUND_MS)
    assert list(groups.group().members) == [two]
    groups.wait(SESSION_MS + ROUND_MS)
    assert groups.group().state is State.EMPTY


def test_an_administrator_removes_a_static_member_by_its_instance_id() -> None:
    groups, one, _ = pair()
    assert groups.leave(("", "two"), ("", "nobody"), ("", None)) == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.UNKNOWN_MEMBER_ID,
    ]
    assert list(groups.group().members) == [one]


def test_X4_an_id_that_was_given_out_brings_no_instance_id() -> None:
    """Who joined with both stopped the broker, when the instance id was another's."""
    groups, one, _ = pair()
    given = groups.answers.pop(groups.join()).member_id
    taken = groups.answers.pop(groups.join(given, instance="one"))
    assert taken.error_code == ErrorCode.FENCED_INSTANCE_ID
    free = groups.answers.pop(groups.join(given, instance="three"))
    assert free.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.group().static_members["one"] == one
    assert groups.join(given) not in groups.answers, "without one it joins, and waits"


def test_G7_who_comes_back_to_a_full_group_takes_its_place() -> None:
    groups = Groups(group_max_size=1)
    one = groups.answers.pop(groups.join(instance="one"))
    groups.share()
    full = groups.answers[groups.join(instance="two")]
    assert full.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    back = groups.answers[groups.join(instance="one")]
    assert (back.error_code, back.generation_id) == (0, one.generation_id)


@pytest.mark.parametrize("name", ["i" * 32_760, "ü" * 16_380])
def test_X4_a_long_name_makes_no_id_that_a_record_cannot_keep(name: str) -> None:
    """The group had members then, and none of them could have its share."""
    groups = Groups()
    joined = groups.answers.pop(groups.join(instance=name))
    synced = groups.answers.pop(
        groups.sync(joined.member_id, 1, {joined.member_id: b"all"}, instance=name)
    )
    assert (synced.error_code, synced.assignment) == (0, b"all")
    assert groups.replayed().durable() == groups.core.durable()
