"""Placement with standbys and warm-ups: complete, balanced in the end, no move before its copy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowstream.processing.group.assignor import Candidate, Claim, task_name
from flowstream.processing.group.placing import (
    Orders,
    Placement,
    Rules,
    decode_orders,
    encode_orders,
    place,
)
from flowstream.transport.assignor import Member, Part, hold_back
from flowstream.transport.types import TopicPartition

END = 1_000
ROUNDS = 40
names = st.sampled_from(["a", "b", "c", "d"])


class Group:
    """Members whose states follow what they were told, round by round."""

    def __init__(self, topics: dict[str, int], rules: Rules) -> None:
        self.topics = topics
        self.rules = rules
        self.claims: dict[str, Claim] = {}
        self.placement = Placement({}, {})

    def rebalance(self) -> Placement:
        """One round; who owns or copies a task has all of its state after it."""
        members = {m: Candidate(frozenset(self.topics), claim) for m, claim in self.claims.items()}
        self.placement = place(members, self.topics, self.rules)
        assert self.placement == place(dict(reversed(members.items())), self.topics, self.rules)
        shares = hold_back(
            self.members(), {m: Part(p) for m, p in self.placement.partitions.items()}
        )
        for member in self.placement.partitions:
            orders = self.placement.orders[member]
            given = shares[member].partitions
            owned = sorted({task_name(self.topics[topic], n) for topic, n in given})
            assert set(orders.warming) <= set(orders.standby)
            stateful = [t for t in owned if int(t.partition("/")[0]) in self.rules.stateful]
            state = dict.fromkeys([*stateful, *orders.standby], END)
            self.claims[member] = Claim(tuple(owned), state)
        return self.placement

    def members(self) -> dict[str, Member]:
        """The members as transport knows them."""
        topics = frozenset(self.topics)
        return {
            name: Member(
                topics,
                b"",
                frozenset(
                    TopicPartition(topic, n)
                    for topic, count in self.topics.items()
                    for n in range(count)
                    if task_name(count, n) in claim.owned
                ),
            )
            for name, claim in self.claims.items()
        }

    def settle(self) -> None:
        """Rounds until nothing moves."""
        for _ in range(ROUNDS):
            before = self.placement, dict(self.claims)
            if (self.rebalance(), self.claims) == before:
                return
        raise AssertionError(f"no end after {ROUNDS} rounds: {self.placement}")

    def copies(self) -> dict[str, list[str]]:
        """Who copies each task, beside the one that runs it."""
        found: dict[str, list[str]] = {}
        for member, orders in self.placement.orders.items():
            for task in set(orders.standby) - set(self.claims[member].owned):
                found.setdefault(task, []).append(member)
        return found


@st.composite
def groups(draw: st.DrawFn) -> Group:
    topics = draw(st.dictionaries(st.sampled_from(["t", "u", "v"]), st.integers(1, 7), min_size=1))
    stateful = frozenset(draw(st.sets(st.sampled_from(sorted(set(topics.values()))))))
    rules = Rules(
        draw(st.integers(0, 3)), draw(st.integers(0, 99)), draw(st.integers(1, 3)), stateful
    )
    group = Group(topics, rules)
    for name in sorted(draw(st.sets(names, min_size=1))):
        group.claims[name] = Claim()
    return group


def check_owned(group: Group) -> None:
    placed = sorted(tp for owned in group.placement.partitions.values() for tp in owned)
    assert placed == [(t, p) for t in sorted(group.topics) for p in range(group.topics[t])]


def check_settled(group: Group) -> None:
    """Even, nothing on its way, and as many copies of each task as there can be, evenly too."""
    check_owned(group)
    for topic in group.topics:
        loads = [sum(t == topic for t, _ in o) for o in group.placement.partitions.values()]
        assert max(loads) - min(loads) <= 1
    assert not any(orders.warming for orders in group.placement.orders.values())
    each = min(group.rules.standbys, len(group.claims) - 1)
    copies = group.copies()
    for count in group.rules.stateful & set(group.topics.values()):
        for partition in range(count):
            assert len(set(copies.get(task_name(count, partition), []))) == each


@given(groups(), st.lists(st.tuples(st.booleans(), names), max_size=5))
def test_G7_S5_members_come_and_go_and_it_settles(
    group: Group, changes: list[tuple[bool, str]]
) -> None:
    group.settle()
    check_settled(group)
    for joins, name in changes:
        if joins:
            group.claims.setdefault(name, Claim())
        elif len(group.claims) > 1:
            group.claims.pop(name, None)
        group.rebalance()
        check_owned(group)
    group.settle()
    check_settled(group)


@given(groups(), names)
def test_S5_a_task_never_moves_to_who_has_not_its_state(group: Group, name: str) -> None:
    group.settle()
    group.claims[name] = Claim()  # new, or back without anything
    before = dict(group.claims)
    for member, partitions in group.rebalance().partitions.items():
        for topic, n in partitions:
            count = group.topics[topic]
            task = task_name(count, n)
            most = max(claim.state.get(task, 0) for claim in before.values())
            behind = most - before[member].state.get(task, 0)
            assert count not in group.rules.stateful or behind <= group.rules.lag
    warming = sum(len(orders.warming) for orders in group.placement.orders.values())
    assert warming <= group.rules.warmups


@given(groups(), st.data())
def test_S5_a_standby_takes_over_from_who_is_gone(group: Group, data: st.DataObject) -> None:
    group.settle()
    gone = data.draw(st.sampled_from(sorted(group.claims)))
    owned, copies = group.claims[gone].owned, group.copies()
    if len(group.claims) == 1:
        return
    del group.claims[gone]
    group.rebalance()
    check_owned(group)
    if group.rules.standbys:
        owners = {
            task_name(group.topics[topic], n): member
            for member, partitions in group.placement.partitions.items()
            for topic, n in partitions
        }
        for task in owned:
            if int(task.partition("/")[0]) in group.rules.stateful:
                assert owners[task] in copies[task]


def test_a_new_worker_warms_up_and_then_takes_its_part() -> None:
    group = Group({"t": 4}, Rules(standbys=0, lag=10, warmups=1, stateful=frozenset({4})))
    group.claims["a"] = Claim()
    group.settle()
    group.claims["b"] = Claim()
    seen = []
    for _ in range(6):
        group.rebalance()
        seen.append((len(group.claims["b"].owned), len(group.placement.orders["b"].warming)))
    assert seen == [(0, 1), (0, 1), (1, 0), (2, 0), (2, 0), (2, 0)]


def test_a_short_lag_is_no_reason_to_wait() -> None:
    group = Group({"t": 2}, Rules(lag=END, stateful=frozenset({2})))
    group.claims["a"] = Claim(("2/0", "2/1"), {"2/0": END, "2/1": END})
    group.claims["b"] = Claim()
    assert len(group.rebalance().partitions["b"]) == 1
    assert group.claims["b"].owned == (), "not before it has left the other"
    group.rebalance()
    assert len(group.claims["b"].owned) == 1


@given(st.binary(max_size=40))
def test_unreadable_orders_order_nothing(data: bytes) -> None:
    assert isinstance(decode_orders(data), Orders)
    orders = Orders(("4/1", "4/2"), ("4/1",), {"a": 4}, "nobody reads a")
    assert decode_orders(encode_orders(orders)) == orders
    assert encode_orders(Orders()) == b""
