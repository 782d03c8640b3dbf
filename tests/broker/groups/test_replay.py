"""`replay(records) == durable(live state)`, whatever was asked: the one property that restart,
failover and every test above rest on."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.broker.types import TopicPartition
from tests.broker.groups.story import Groups

GROUPS = ("g", "h")

commit = st.tuples(
    st.just("commit"),
    st.sampled_from(GROUPS),
    st.integers(0, 2),
    st.integers(0, 100),
    st.sampled_from([-1, 1000]),
)
transactional = st.tuples(
    st.just("transactional"),
    st.sampled_from(GROUPS),
    st.integers(0, 2),
    st.integers(0, 100),
    st.integers(1, 3),
)
end = st.tuples(st.just("end"), st.integers(1, 3), st.booleans())
join = st.tuples(
    st.just("join"), st.sampled_from(GROUPS), st.integers(0, 3), st.sampled_from(["", "a", "b"])
)
sync = st.tuples(st.just("sync"), st.sampled_from(GROUPS))
leave = st.tuples(st.just("leave"), st.sampled_from(GROUPS), st.integers(0, 3))
delete = st.tuples(st.just("delete"), st.sampled_from(GROUPS))
forget = st.tuples(st.just("forget"), st.integers(0, 2))
wait = st.tuples(st.just("wait"), st.sampled_from([1, 5_000, 30_000, 86_400_000, 700_000_000]))
restart = st.tuples(st.just("restart"))

STEPS = st.lists(
    st.one_of(commit, transactional, end, join, sync, leave, delete, forget, wait, restart),
    max_size=40,
)


def act(groups: Groups, step: tuple[object, ...]) -> None:
    """One thing that a client, an administrator, time or a crash does."""
    match step:
        case ("commit", str(group), int(number), int(offset), int(retention)):
            partition = TopicPartition("t", number)
            groups.commit(offset, group=group, partition=partition, retention_ms=retention)
        case ("transactional", str(group), int(number), int(offset), int(producer)):
            partition = TopicPartition("t", number)
            groups.commit_in_transaction(offset, producer, group=group, partition=partition)
        case ("end", int(producer), bool(outcome)):
            groups.end(producer, commit=outcome)
        case ("join", str(group), int(number), str(instance)):
            members = list(groups.core.groups[group].members) if group in groups.core.groups else []
            if instance:
                groups.join(group=group, instance=instance)
            elif number < len(members):
                known = groups.group(group).members[members[number]]
                groups.join(known.member_id, group=group, instance=known.instance_id)
            else:
                groups.enter(group=group)
        case ("sync", str(group)):
            if group in groups.core.groups and groups.group(group).members:
                groups.sync(groups.group(group).leader or "", None, {}, group=group)
        case ("leave", str(group), int(number)):
            members = list(groups.core.groups[group].members) if group in groups.core.groups else []
            if number < len(members):
                groups.leave((members[number], None), group=group)
        case ("delete", str(group)):
            groups.take(groups.core.delete(group)[1])
        case ("forget", int(number)):
            for _, decision in groups.core.partitions_deleted([TopicPartition("t", number)]):
                groups.take(decision)
        case ("wait", int(milliseconds)):
            groups.wait(milliseconds)
        case ("restart",):
            groups.restart()
        case _:
            raise AssertionError(step)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, delay=st.sampled_from([0, 3000]))
def test_replayed_records_are_the_live_state(steps: list[tuple[object, ...]], delay: int) -> None:
    groups = Groups(group_initial_rebalance_delay_ms=delay)
    for step in steps:
        act(groups, step)
        assert groups.replayed().durable() == groups.core.durable()
