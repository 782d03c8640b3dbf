"""Cooperative shares: a partition leaves its owner before another gets it, and in the end everybody
has what was wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.errors import WireError
from flowstream.transport.assignor import (
    GroupAssignor,
    Member,
    Part,
    Share,
    decode_share,
    decode_subscription,
    encode_share,
    encode_subscription,
    hold_back,
)
from flowstream.transport.types import TopicPartition
from flowstream.wire.messages.consumer_protocol import ConsumerProtocolSubscription
from flowstream.wire.schema import encode

PARTITIONS = [TopicPartition(topic, n) for topic in ("t", "u") for n in range(3)]
TOPICS = frozenset(("t", "u"))
partitions = st.frozensets(st.sampled_from(PARTITIONS))
names = st.sampled_from(["a", "b", "c"])


@st.composite
def groups(draw: st.DrawFn) -> tuple[dict[str, Member], dict[str, Part]]:
    """Members that own what they may, and any parts that do not overlap."""
    wanted: dict[str, list[TopicPartition]] = {
        name: [] for name in draw(st.sets(names, min_size=1))
    }
    owned: dict[str, set[TopicPartition]] = {name: set() for name in wanted}
    for tp in PARTITIONS:
        wanted[draw(st.sampled_from(sorted(wanted)))].append(tp)
        owner = draw(st.sampled_from(["", *sorted(wanted)]))
        if owner:
            owned[owner].add(tp)
    members = {name: Member(TOPICS, b"", frozenset(owned[name]), 7) for name in wanted}
    return members, {name: Part(part, name.encode()) for name, part in wanted.items()}


@given(groups())
def test_G4_nothing_is_given_that_another_owns(
    group: tuple[dict[str, Member], dict[str, Part]],
) -> None:
    members, wanted = group
    shares = hold_back(members, wanted)
    for name, share in shares.items():
        for other, member in members.items():
            assert other == name or not share.partitions & member.owned
        assert share.user_data == name.encode()
    held_back = any(
        share.partitions != set(wanted[name].partitions) for name, share in shares.items()
    )
    assert {share.unfinished for share in shares.values()} == {held_back}


@given(groups())
def test_G7_two_rounds_give_everybody_what_was_wanted(
    group: tuple[dict[str, Member], dict[str, Part]],
) -> None:
    members, wanted = group
    first = hold_back(members, wanted)
    after = {
        name: member._replace(owned=first[name].partitions, generation=8)
        for name, member in members.items()
    }
    second = hold_back(after, wanted)
    for name, share in second.items():
        assert share.partitions == set(wanted[name].partitions)
        assert not share.unfinished
        # What was owned and is wanted was never away.
        assert members[name].owned & share.partitions <= first[name].partitions


def test_G4_who_heard_last_from_the_leader_is_the_owner() -> None:
    tp = TopicPartition("t", 0)
    stale, current = (
        Member(TOPICS, b"", frozenset((tp,)), 3),
        Member(TOPICS, b"", frozenset((tp,)), 5),
    )
    members = {"stale": stale, "current": current}
    assert hold_back(members, {"stale": Part([tp])})["stale"] == Share(unfinished=True)
    assert hold_back(members, {"current": Part([tp])})["current"] == Share(frozenset((tp,)))
    # Of two that cannot both be right neither gets it: they let go, and the next round decides.
    members = {"a": current, "b": current}
    for name in members:
        assert hold_back(members, {name: Part([tp])})[name] == Share(unfinished=True)


@given(partitions, st.binary(max_size=9), st.integers(-1, 9))
def test_subscriptions_round_trip(
    owned: frozenset[TopicPartition], user_data: bytes, generation: int
) -> None:
    data = encode_subscription(TOPICS, user_data, owned, generation)
    assert decode_subscription(data) == Member(TOPICS, user_data, owned, generation)
    # What a later version adds behind it is left alone.
    assert decode_subscription(b"\0\x09" + data[2:] + b"more").owned == owned


@given(partitions, st.binary(max_size=9), st.booleans())
def test_shares_round_trip(
    given_: frozenset[TopicPartition], user_data: bytes, unfinished: bool
) -> None:
    share = Share(given_, user_data, unfinished)
    assert decode_share(encode_share(share)) == share


def test_other_clients_subscribe_too() -> None:
    old = b"\0\0" + encode(ConsumerProtocolSubscription(topics=("t",), user_data=None), 0)
    assert decode_subscription(old) == Member(frozenset(("t",)), b"")
    assert decode_subscription(b"\0") == Member(frozenset(), b"")
    assert decode_subscription(b"\xff\xff" + old[2:]) == Member(frozenset(), b"")
    assert decode_share(b"") == Share()
    with pytest.raises(WireError):
        decode_share(b"\0\x01nonsense")


def test_the_leader_decides_by_what_it_was_given() -> None:
    assignor = GroupAssignor(
        "n", lambda: b"", lambda members, counts: {"a": Part([("t", counts["t"])])}
    )
    assert assignor.decide({"a": Member(TOPICS, b"")}, {"t": 1})["a"].partitions == {("t", 1)}
