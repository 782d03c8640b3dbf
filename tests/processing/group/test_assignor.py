"""The assignor: complete, co-partitioned, balanced, sticky, deterministic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowstream.processing.group.assignor import (
    Candidate,
    Claim,
    assign,
    decode_claim,
    encode_claim,
    task_name,
    waiting,
)

names = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def groups(draw: st.DrawFn) -> tuple[dict[str, Candidate], dict[str, int]]:
    topics = draw(st.dictionaries(st.sampled_from(["t", "u", "v"]), st.integers(1, 9), min_size=1))
    members = {}
    for name in draw(st.sets(names, min_size=1)):
        tasks = st.sampled_from([task_name(c, p) for c in topics.values() for p in range(c)])
        state = draw(st.dictionaries(tasks, st.integers(0, 99), max_size=4))
        owned = tuple(draw(st.sets(tasks, max_size=4)))
        members[name] = Candidate(frozenset(topics), Claim(owned, state))
    return members, topics


@given(groups())
def test_G7_every_partition_has_one_owner_and_loads_are_even(
    group: tuple[dict[str, Candidate], dict[str, int]],
) -> None:
    members, topics = group
    found = assign(members, topics)
    placed = [tp for owned in found.values() for tp in owned]
    assert sorted(placed) == [(t, p) for t in sorted(topics) for p in range(topics[t])]
    for topic in topics:
        loads = [sum(t == topic for t, _ in owned) for owned in found.values()]
        assert max(loads) - min(loads) <= 1
    assert found == assign(dict(reversed(members.items())), dict(reversed(topics.items())))


@given(groups())
def test_topics_of_one_count_stay_together(
    group: tuple[dict[str, Candidate], dict[str, int]],
) -> None:
    members, topics = group
    owner = {tp: member for member, owned in assign(members, topics).items() for tp in owned}
    for (topic, partition), member in owner.items():
        for other, count in topics.items():
            if count == topics[topic]:
                assert owner[other, partition] == member


def test_tasks_go_where_their_state_is() -> None:
    topics = {"t": 4}
    members = {
        "a": Candidate(frozenset(topics), Claim((), {"4/0": 5, "4/1": 5})),
        "b": Candidate(frozenset(topics), Claim(("4/2",), {"4/0": 9, "4/2": 1})),
    }
    assert assign(members, topics) == {"a": [("t", 1), ("t", 3)], "b": [("t", 0), ("t", 2)]}


def test_a_second_worker_takes_half_and_leaves_the_rest_in_place() -> None:
    topics = {"t": 4}
    claim = Claim(tuple(task_name(4, p) for p in range(4)))
    members = {"old": Candidate(frozenset(topics), claim), "new": Candidate(frozenset(topics))}
    found = assign(members, topics)
    assert [len(found["old"]), len(found["new"])] == [2, 2]


def test_a_topic_goes_to_its_subscribers_only() -> None:
    members = {"a": Candidate(frozenset({"t"})), "b": Candidate(frozenset({"t", "u"}))}
    found = assign(members, {"t": 2, "u": 2})
    assert [tp for tp in found["a"] if tp[0] == "u"] == []


@given(st.binary(max_size=60))
def test_unreadable_claims_claim_nothing(data: bytes) -> None:
    assert isinstance(decode_claim(data), Claim)
    claim = Claim(("4/1",), {"4/2": 7})
    assert decode_claim(encode_claim(claim)) == claim


def test_what_waits_while_two_versions_read_different_topics_is_named() -> None:
    topics = {"orders": 4, "refunds": 4}
    old, new = Candidate(frozenset({"orders"})), Candidate(frozenset(topics))
    members = {"a": old, "b": new}
    line = "1 of 2 workers get nothing of orders, refunds"
    assert waiting(members, topics, assign(members, topics)) == line
    same = {"a": new, "b": new}
    assert waiting(same, topics, assign(same, topics)) == ""
    # Each version reads one topic alone beside what both read.
    both = {
        "a": Candidate(frozenset({"orders", "old"})),
        "b": Candidate(frozenset({"orders", "refunds"})),
    }
    topics = {"orders": 4, "refunds": 4, "old": 4}
    assert waiting(both, topics, assign(both, topics)) == (
        "nobody reads 2 of the 4 partitions of old; nobody reads 2 of the 4 partitions of refunds"
    )
