"""The assignors `uniform` and `range`: every partition once, evenly, with little movement."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowstream.broker.groups.consumer_assignors import (
    ASSIGNORS,
    Subscriber,
    assign_range,
    assign_uniform,
)
from flowstream.broker.groups.consumer_member import Target

TOPICS = [bytes([n]) * 16 for n in range(1, 5)]
sizes = st.fixed_dictionaries({topic: st.integers(0, 9) for topic in TOPICS})
subscriptions = st.dictionaries(
    st.sampled_from([f"m{n}" for n in range(8)]),
    st.frozensets(st.sampled_from(TOPICS)),
    min_size=1,
)


def subscribers(
    topics: dict[str, frozenset[bytes]], had: dict[str, Target] | None = None
) -> dict[str, Subscriber]:
    return {each: Subscriber(topics[each], (had or {}).get(each, {})) for each in topics}


def pairs(target: Target) -> set[tuple[bytes, int]]:
    return {(topic, each) for topic, numbers in target.items() for each in numbers}


@given(topics=subscriptions, sizes=sizes, name=st.sampled_from(sorted(ASSIGNORS)))
def test_G7_every_partition_of_every_subscribed_topic_goes_to_one_subscriber(
    topics: dict[str, frozenset[bytes]], sizes: dict[bytes, int], name: str
) -> None:
    targets = ASSIGNORS[name](subscribers(topics), sizes)
    assert set(targets) == set(topics)
    given_ = [each for target in targets.values() for each in pairs(target)]
    read = frozenset[bytes]().union(*topics.values())
    assert sorted(given_) == [(t, p) for t in sorted(read) for p in range(sizes[t])]
    assert all(target.keys() <= topics[member] for member, target in targets.items())


@given(
    members=st.sets(st.sampled_from([f"m{n}" for n in range(8)]), min_size=1),
    gone=st.sets(st.sampled_from([f"m{n}" for n in range(8)])),
    come=st.integers(0, 3),
    sizes=sizes,
)
def test_uniform_is_even_and_moves_no_more_than_it_must(
    members: set[str], gone: set[str], come: int, sizes: dict[bytes, int]
) -> None:
    everything = frozenset(TOPICS)
    before = assign_uniform(subscribers(dict.fromkeys(members, everything)), sizes)
    after_members = (members - gone) | {f"n{n}" for n in range(come)}
    if not after_members:
        return
    again = subscribers(dict.fromkeys(after_members, everything), before)
    after = assign_uniform(again, sizes)
    loads = sorted(len(pairs(each)) for each in after.values())
    assert loads[-1] - loads[0] <= 1
    total = sum(sizes.values())
    most = -(-total // len(after_members))
    stayed = members & after_members
    kept = sum(len(pairs(before[m]) & pairs(after[m])) for m in stayed)
    could = sum(min(len(pairs(before[m])), total // len(after_members)) for m in stayed)
    assert could <= kept <= most * len(stayed)


@given(topics=subscriptions, sizes=sizes)
def test_uniform_repeats_itself(
    topics: dict[str, frozenset[bytes]], sizes: dict[bytes, int]
) -> None:
    first = assign_uniform(subscribers(topics), sizes)
    assert assign_uniform(subscribers(topics, first), sizes) == first


@given(topics=subscriptions, before=subscriptions, sizes=sizes)
def test_uniform_leaves_nothing_that_one_move_would_even_out(
    topics: dict[str, frozenset[bytes]],
    before: dict[str, frozenset[bytes]],
    sizes: dict[bytes, int],
) -> None:
    had = assign_uniform(subscribers(before), sizes)
    targets = assign_uniform(subscribers(topics, had), sizes)
    loads = {each: len(pairs(target)) for each, target in targets.items()}
    for giver, target in targets.items():
        for topic in target:
            least = min(loads[each] for each, read in topics.items() if topic in read)
            assert loads[giver] - least <= 1


def test_range_gives_the_same_numbers_of_equal_topics_to_one_member() -> None:
    a, b = TOPICS[:2]
    everything = frozenset({a, b})
    members = {
        "x": Subscriber(everything, {}),
        "a": Subscriber(everything, {}),
        "z": Subscriber(everything, {}, instance_id="i"),
    }
    targets = assign_range(members, {a: 4, b: 4})
    assert targets["z"] == {a: frozenset({0, 1}), b: frozenset({0, 1})}, "static members first"
    assert targets["a"] == {a: frozenset({2}), b: frozenset({2})}
    assert targets["x"] == {a: frozenset({3}), b: frozenset({3})}


class TopicId(bytes):
    """An id, and how often one was compared with another."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        TopicId.compared += 1
        return super().__eq__(other)

    __hash__ = bytes.__hash__


def test_X4_many_topics_read_unevenly_are_not_looked_at_for_each_other() -> None:
    """2,000 topics of four partitions, not read by all of 50 members, held the loop for four
    seconds at each rebalance."""
    sizes: dict[bytes, int] = {TopicId(number.to_bytes(16)): 2 for number in range(60)}
    every = frozenset(sizes)
    some = frozenset(list(sizes)[1:])
    members = {name: Subscriber(topics=some if name == "a" else every, had={}) for name in "abc"}
    TopicId.compared = 0
    given = assign_uniform(members, sizes)
    assert sum(len(each) for target in given.values() for each in target.values()) == 120
    assert TopicId.compared < 10 * 120
