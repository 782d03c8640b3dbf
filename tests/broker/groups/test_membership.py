"""The classic group protocol told as stories: join, sync, heartbeat, leave, and what time does."""

from __future__ import annotations

import pytest

from flowstream.broker.groups.states import MOVES, State
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.story import REBALANCE_MS, SESSION_MS, Groups


def test_a_new_member_is_given_an_id_and_joins_with_it() -> None:
    groups = Groups()
    member, asked = groups.enter()
    assert member.startswith("client-")
    joined = groups.answers.pop(asked)
    assert (joined.error_code, joined.generation_id, joined.leader) == (0, 1, member)
    assert [each.member_id for each in joined.members] == [member]
    assert (joined.protocol_type, joined.protocol_name) == ("consumer", "range")
    synced = groups.answers.pop(groups.sync(member, 1, {member: b"all"}))
    assert (synced.error_code, synced.assignment) == (0, b"all")
    assert groups.group().state is State.STABLE
    assert groups.heartbeat(member) == ErrorCode.NONE


def test_before_version_4_a_member_joins_at_once() -> None:
    groups = Groups()
    joined = groups.answers.pop(groups.join(version=3))
    assert (joined.error_code, joined.generation_id) == (0, 1)


def test_an_id_that_is_not_used_within_the_session_is_forgotten() -> None:
    groups = Groups()
    member = groups.answers.pop(groups.join()).member_id
    groups.wait(SESSION_MS + 1)
    late = groups.answers.pop(groups.join(member))
    assert late.error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert late.member_id == member


def test_a_second_member_calls_the_first_to_join_again() -> None:
    groups = Groups()
    (first,) = groups.crew(1)
    second, waiting = groups.enter()
    assert waiting not in groups.answers
    assert groups.heartbeat(first) == ErrorCode.REBALANCE_IN_PROGRESS
    again = groups.join(first)
    lead, follow = groups.answers.pop(again), groups.answers.pop(waiting)
    assert lead.generation_id == follow.generation_id == 2
    assert lead.leader == follow.leader == first
    assert {each.member_id for each in lead.members} == {first, second}
    assert follow.members == ()
    early = groups.sync(second, 2)
    assert early not in groups.answers, "a follower waits for the leader"
    groups.sync(first, 2, {first: b"a", second: b"b"})
    assert groups.answers.pop(early).assignment == b"b"
    late = groups.answers.pop(groups.sync(second, 2))
    assert late.assignment == b"b", "a repeated sync gets the same share"


def test_who_does_not_join_within_the_rebalance_timeout_is_out() -> None:
    groups = Groups()
    first, second = groups.crew(2, session_ms=REBALANCE_MS * 2)
    waiting = groups.join(first)
    groups.wait(REBALANCE_MS - 1)
    assert waiting not in groups.answers
    groups.wait(1)
    assert groups.answers.pop(waiting).error_code == 0
    assert list(groups.group().members) == [first]
    assert groups.heartbeat(second) == ErrorCode.UNKNOWN_MEMBER_ID


def test_another_member_leads_when_the_leader_does_not_join() -> None:
    groups = Groups()
    leader, other = groups.crew(2, session_ms=REBALANCE_MS * 2)
    waiting = groups.join(other, protocols=(("range", b"new"),), session_ms=REBALANCE_MS * 2)
    groups.wait(REBALANCE_MS)
    joined = groups.answers.pop(waiting)
    assert joined.leader == other != leader
    assert [each.member_id for each in joined.members] == [other]


def test_who_does_not_sync_within_the_rebalance_timeout_is_out() -> None:
    groups = Groups()
    first, _ = groups.enter()
    second, _ = groups.enter()
    groups.join(first)
    groups.answers.clear()
    waiting = groups.sync(second)
    for _ in range(REBALANCE_MS // 5000):
        groups.heartbeat(first)
        groups.wait(5000)
    assert groups.answers.pop(waiting).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert list(groups.group().members) == [second]


def test_a_silent_member_is_out_after_its_session() -> None:
    groups = Groups()
    first, second = groups.crew(2)
    for _ in range(5):
        groups.wait(SESSION_MS // 2)
        error = groups.heartbeat(first)
        if error == ErrorCode.REBALANCE_IN_PROGRESS:
            break
    assert groups.group().state is State.PREPARING_REBALANCE
    assert second not in groups.group().members
    joined = groups.answers.pop(groups.join(first))
    assert [each.member_id for each in joined.members] == [first]


def test_the_last_member_gone_leaves_an_empty_group_with_a_generation_of_its_own() -> None:
    groups = Groups()
    (member,) = groups.crew(1)
    assert groups.leave((member, None)) == [ErrorCode.NONE]
    group = groups.group()
    assert (group.state, group.generation, group.leader) == (State.EMPTY, 2, None)
    assert group.protocol_type == "consumer"
    groups.restart()
    assert groups.group().generation == 2


def test_a_pending_member_may_leave() -> None:
    groups = Groups()
    member = groups.answers.pop(groups.join()).member_id
    assert groups.leave((member, None)) == [ErrorCode.NONE]
    assert groups.answers.pop(groups.join(member)).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_strangers_are_refused() -> None:
    groups = Groups()
    assert groups.heartbeat("x", 1, group="none") == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.leave(("x", None), group="none") == [ErrorCode.UNKNOWN_MEMBER_ID]
    groups.crew(1)
    assert groups.heartbeat("x", 1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.leave(("x", None)) == [ErrorCode.UNKNOWN_MEMBER_ID]
    assert groups.answers.pop(groups.sync("x", 1)).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.answers.pop(groups.join("x")).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.answers.pop(groups.join("x", group="no")).error_code == (
        ErrorCode.UNKNOWN_MEMBER_ID
    )


def test_an_old_generation_is_refused() -> None:
    groups = Groups()
    (member,) = groups.crew(1)
    assert groups.heartbeat(member, 0) == ErrorCode.ILLEGAL_GENERATION
    assert groups.answers.pop(groups.sync(member, 0)).error_code == ErrorCode.ILLEGAL_GENERATION


@pytest.mark.parametrize("group", ["g", "never-seen"])
def test_an_empty_group_id_and_bad_session_timeouts_are_refused(group: str) -> None:
    groups = Groups()
    assert groups.answers.pop(groups.join(group="")).error_code == ErrorCode.INVALID_GROUP_ID
    assert groups.heartbeat("x", 1, group="") == ErrorCode.INVALID_GROUP_ID
    short = groups.answers.pop(groups.join(group=group, session_ms=1))
    long = groups.answers.pop(groups.join(group=group, session_ms=1 << 30))
    assert short.error_code == long.error_code == ErrorCode.INVALID_SESSION_TIMEOUT
    assert not groups.core.groups, "a refused join begins no group"


def test_the_protocol_is_one_that_all_offer_and_most_prefer() -> None:
    groups = Groups()
    a, b = ("a", b""), ("b", b"")
    first, _ = groups.enter(protocols=(a, b))
    second, _ = groups.enter(protocols=(b, a))
    third, waiting = groups.enter(protocols=(b, a))
    groups.join(first, protocols=(a, b))
    groups.join(second, protocols=(b, a))
    assert groups.answers.pop(waiting).protocol_name == "b"
    assert set(groups.group().members) == {first, second, third}
    other = groups.answers.pop(groups.join(protocols=(("c", b""),)))
    assert other.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    typed = groups.answers.pop(groups.join(protocols=(a,), protocol_type="connect"))
    assert typed.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_nothing_to_agree_on_is_refused() -> None:
    groups = Groups()
    for refused in (groups.join(protocols=()), groups.join(protocol_type="")):
        error = groups.answers.pop(refused).error_code
        assert error == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_a_sync_must_name_the_protocol_from_version_5() -> None:
    groups = Groups()
    (member,) = groups.crew(1)
    for protocol in (None, "other"):
        answer = groups.answers.pop(groups.sync(member, protocol=protocol))
        assert answer.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert groups.answers.pop(groups.sync(member, version=4)).error_code == 0


def test_a_join_repeated_in_the_same_generation_is_answered_alike() -> None:
    groups = Groups()
    _, second = groups.crew(2)
    generation = groups.group().generation
    again = groups.answers.pop(groups.join(second))
    assert (again.generation_id, again.members) == (generation, ())
    assert groups.group().state is State.STABLE


def test_the_leader_can_ask_for_a_rebalance() -> None:
    groups = Groups()
    first, second = groups.crew(2)
    waiting = groups.join(first)
    assert waiting not in groups.answers
    groups.join(second)
    assert groups.answers.pop(waiting).generation_id == 3


def test_a_repeated_join_that_waits_replaces_the_first() -> None:
    groups = Groups()
    first, second = groups.crew(2)
    waiting = groups.join(first)
    instead = groups.join(first)
    assert groups.answers.pop(waiting).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    groups.join(second)
    assert groups.answers.pop(instead).error_code == 0


def test_a_group_has_a_largest_size() -> None:
    groups = Groups(group_max_size=2)
    groups.crew(2)
    refused = groups.answers.pop(groups.join())
    assert refused.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert refused.member_id == ""


def test_an_empty_group_waits_for_its_first_members() -> None:
    groups = Groups(group_initial_rebalance_delay_ms=3000)
    _, first = groups.enter()
    groups.wait(2000)
    _, second = groups.enter()
    groups.wait(1000)
    assert first not in groups.answers, "a newcomer extends the delay"
    groups.wait(3000)
    assert groups.answers.pop(first).generation_id == 1
    assert groups.answers.pop(second).generation_id == 1


def test_newcomers_extend_the_first_delay_by_the_rebalance_timeout_at_most() -> None:
    groups = Groups(group_initial_rebalance_delay_ms=3000)
    begun = groups.now
    _, first = groups.enter()
    while first not in groups.answers:
        groups.wait(1000)
        groups.enter()
    assert groups.now - begun <= REBALANCE_MS + 3000


def test_members_survive_a_restart_and_have_a_session_to_say_so() -> None:
    groups = Groups()
    first, _ = groups.crew(2)
    groups.restart()
    group = groups.group()
    assert (group.state, group.generation) == (State.STABLE, 2)
    groups.wait(SESSION_MS - 1)
    assert groups.heartbeat(first) == ErrorCode.NONE
    assert groups.answers.pop(groups.sync(first)).assignment == first.encode()
    groups.wait(1)
    assert groups.heartbeat(first) == ErrorCode.REBALANCE_IN_PROGRESS
    assert list(groups.group().members) == [first]


def test_a_rebalance_that_a_restart_broke_off_begins_again() -> None:
    groups = Groups()
    first, second = groups.crew(2)
    groups.enter()
    groups.join(first)
    groups.restart()
    assert groups.group().generation == 2
    assert set(groups.group().members) == {first, second}
    assert groups.heartbeat(second) == ErrorCode.NONE


def test_every_move_of_the_table_is_known_to_a_state() -> None:
    assert set(MOVES) == set(State)
    assert all(State.DEAD in MOVES[state] for state in State if state is not State.DEAD)


def test_a_new_member_that_gave_up_waiting_is_out_after_five_minutes() -> None:
    groups = Groups()
    groups.crew(2, rebalance_ms=1_000_000, session_ms=1_800_000)
    newcomer, waiting = groups.enter(rebalance_ms=1_000_000, session_ms=1_800_000)
    groups.wait(300_000)
    assert groups.answers.pop(waiting).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert newcomer not in groups.group().members
