"""Members of both protocols come, talk and go at random: one kind of group at a time, one owner of
a partition, and a log that says it all."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.broker.groups.embedded import read_assignment
from tests.broker.groups.test_migration import Mixed, share, subscribed

WHO = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["enter", "again", "sync", "beat", "away"]), WHO),
        st.tuples(st.sampled_from(["join", "report", "leave"]), WHO),
        st.tuples(st.just("static"), WHO),
        st.tuples(st.just("wait"), st.sampled_from([1_000, 5_000, 30_000, 50_000])),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("size"), st.integers(1, 6)),
    ),
    min_size=8,
    max_size=40,
)


def epoch_of(broker: Mixed, member_id: str) -> int:
    if "g" in broker.core.consumers:
        member = broker.consumer().members.get(member_id)
        return 0 if member is None else member.epoch
    return broker.group().generation if "g" in broker.core.groups else 0


def act(broker: Mixed, ids: dict[int, str], what: str, who: int) -> None:
    name, old = f"m{who}", ids.get(who, "")
    held = {}
    if "g" in broker.core.consumers and old in broker.consumer().members:
        member = broker.consumer().members[old]
        held = {broker.known.topics_by_id[t].name: tuple(p) for t, p in member.assigned.items()}
    match what:
        case "enter":
            asked = broker.join("", protocols=subscribed("t"))
            ids[who] = broker.answers.pop(asked).member_id
            broker.join(ids[who], protocols=subscribed("t"))
        case "again" if old:
            broker.join(old, protocols=subscribed("t", **held))
        case "sync" if old:
            shares = {}
            if "g" in broker.core.groups:
                members = list(broker.group().members)
                shares = {m: share(t=(n,)) for n, m in enumerate(members) if n < 4}
            from flowstream.wire.messages.sync_group import (
                SyncGroupRequest,
                SyncGroupRequestAssignment,
            )

            listed = tuple(
                SyncGroupRequestAssignment(member_id=m, assignment=s) for m, s in shares.items()
            )
            body = SyncGroupRequest(
                group_id="g",
                generation_id=epoch_of(broker, old),
                member_id=old,
                protocol_type="consumer",
                protocol_name="cooperative-sticky",
                assignments=listed,
            )
            broker.take(broker.core.sync(broker._request(body, 14, 5), broker.now))
        case "beat" if old:
            broker.heartbeat(old, epoch_of(broker, old))
        case "away" if old:
            broker.leave((old, None))
        case "join":
            broker.join_as(name, "t")
        case "static":
            if who:
                broker.join("", instance="i", protocols=subscribed("t"))
            else:
                broker.join_as("s", "t", instance_id="i")
        case "report":
            if "g" in broker.core.consumers and name in broker.consumer().members:
                member = broker.consumer().members[name]
                broker.beat(name, member.epoch, owned=dict(member.assigned))
        case "leave":
            broker.beat(name, -1)
        case "wait":
            broker.wait(who)
        case "restart":
            broker.restart()
        case "size":
            if who >= len(broker.known.topics["t"].partitions):
                broker.create("t", who)


def check(broker: Mixed) -> None:
    core = broker.core
    assert broker.replayed().durable() == core.durable()
    assert not core.groups.keys() & core.consumers.keys(), "one kind of group at a time"
    for group in core.consumers.values():
        has = [(t, p) for each in group.members.values() for t, p, _ in each.owned()]
        assert len(has) == len(set(has)), "G4: one member has a partition"
        assert any(m.classic is None for m in group.members.values()) or not group.members
    for classic in core.groups.values():
        for member in classic.members.values():
            read_assignment(member.assignment, broker.known)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_G4_G5_both_protocols_in_one_group(steps: list[tuple[str, int]]) -> None:
    broker = Mixed()
    ids: dict[int, str] = {}
    epoch = 0
    for what, who in steps:
        act(broker, ids, what, who)
        check(broker)
        now = epoch
        if "g" in broker.core.consumers:
            now = broker.consumer().epoch
        elif "g" in broker.core.groups and broker.group().members:
            now = broker.group().generation
        if now < epoch:
            # Only a group without members begins anew; a classic generation is durable with its
            # assignment.
            assert what in ("join", "enter", "static", "restart"), "G5"
        epoch = now
