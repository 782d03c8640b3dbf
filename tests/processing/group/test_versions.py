"""Two versions of an app beside each other, which read different topics: a task of topics that have
one number of partitions is one worker's as a whole, and nothing stays unread (G4, G7)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowstream as fs
from flowstream.processing.group.assignor import Candidate
from flowstream.processing.group.claiming import decide
from flowstream.processing.group.membership import WAITS
from flowstream.processing.group.placing import Rules, place
from flowstream.transport.assignor import Member, hold_back
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit

N = 3
RULES = Rules(stateful=frozenset({N}))
topic_sets = st.frozensets(st.sampled_from("abcd"), min_size=1)


def version(kit: Kit, name: str, who: str, topics: Collection[str], seen: list[str]) -> fs.App:
    """Counts events in one table, with an agent for each of its topics."""
    app = kit.app(name, data_dir=kit.directory / who)
    table = app.Table("seen", key_type=str, default=int, partitions=N)
    for topic in topics:

        async def count(stream: fs.Stream[int]) -> AsyncIterator[None]:
            async for event in stream.events():
                table[str(event.partition)] += 1
                seen.append(f"{event.topic}-{event.partition} {event.value}")
                yield None

        app.agent(app.topic(f"{name}-{topic}", value_type=int), name=f"count-{topic}")(count)
    return app


@pytest.mark.parametrize(("before", "after"), [("a", "ab"), ("ab", "a")])
async def test_G4_G7_versions_that_read_other_topics_run_side_by_side(
    kit: Kit, name: str, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flowstream.worker")
    await kit.admin.create_topics([NewTopic(f"{name}-{t}", N) for t in "ab"])
    feeder = kit.app(f"{name}-feeder")
    seen: list[str] = []
    sent: list[str] = []

    async def feed(topics: str) -> None:
        for topic in topics:
            target = feeder.topic(f"{name}-{topic}", value_type=int)
            for number in range(N):
                await target.send(value=len(sent), partition=number)
                sent.append(f"{target.name}-{number} {len(sent)}")

    old = version(kit, name, "old", before, seen)
    new = version(kit, name, "new", after, seen)
    async with kit.running(old) as first:
        await feed(before)
        await kit.sees(lambda: set(seen) == set(sent))
        async with kit.running(new) as second:
            for _ in range(3):
                await feed("ab")
                await kit.sees(lambda: set(seen) == set(sent))
            assert not set(first.tasks) & set(second.tasks)
            first.stop()
            await kit.sees(lambda: first.membership is None)
            await feed(after)
            await kit.sees(lambda: set(seen) == set(sent))
    told = f"{WAITS}: 1 of 2 workers get nothing of {name}-a, {name}-b"
    lines = [line.getMessage() for line in caplog.records if WAITS in line.getMessage()]
    # Where the old one reads all there is, the new one may come after all is done.
    assert lines == [told, told] if after == "ab" else {*lines} <= {told}, "each tells it once"
    rows = await kit.records(f"{name}-seen-changelog")
    last = {record.key: record.value for record in rows}
    assert sum(int(value or b"0") for value in last.values()) == len(sent)


@given(st.dictionaries(st.sampled_from(["k", "l", "m"]), topic_sets, min_size=1))
def test_G4_nobody_has_a_task_in_part(topics: dict[str, frozenset[str]]) -> None:
    """Whoever has some of a task has all of it that it reads, and nobody else has any. What anybody
    reads beside all that belongs with it is read.
    """
    members = {name: Candidate(mine) for name, mine in topics.items()}
    found = place(members, dict.fromkeys(frozenset().union(*topics.values()), N), RULES)
    given = {(topic, n): m for m, tps in found.partitions.items() for topic, n in tps}
    for member, mine in topics.items():
        for number in range(N):
            if any(given.get((topic, number)) == member for topic in mine):
                assert {given[topic, number] for topic in mine} == {member}
        if not any(mine != other and mine & other for other in topics.values()):
            assert all((topic, n) in given for topic in mine for n in range(N))
        if all(other <= mine for other in topics.values()):
            assert len(given) == len(mine) * N, "G7: somebody reads everything"


def test_G4_a_number_arrives_as_a_whole() -> None:
    """What is new of a task waits until its owner has let go the rest."""
    owned = frozenset(TopicPartition("a", n) for n in range(N))
    members = {
        "new": Member(frozenset("ab"), b"", frozenset(), -1),
        "old": Member(frozenset("a"), b"", owned, 1),
    }
    first = hold_back(members, decide(members, {"a": N, "b": N}, RULES))
    assert not first["new"].partitions
    assert first["new"].unfinished
    after = {name: m._replace(owned=first[name].partitions) for name, m in members.items()}
    second = hold_back(after, decide(after, {"a": N, "b": N}, RULES))
    assert len(second["new"].partitions) == 2 * N


@given(
    st.tuples(topic_sets, topic_sets),
    st.dictionaries(st.sampled_from("abcd"), st.integers(2, 3), min_size=4),
    st.lists(st.sampled_from(["join", "upgrade", "leave"]), min_size=1, max_size=8),
)
def test_G4_G7_a_roll_from_one_version_to_another_settles_and_parts_no_task(
    versions: tuple[frozenset[str], frozenset[str]], counts: dict[str, int], steps: list[str]
) -> None:
    """Rounds of the protocol: nobody gets what belongs with what another still holds."""
    members: dict[str, Member] = {}
    for number, step in enumerate(steps):
        if step != "join" and members:
            members.pop(min(members))
        if step != "leave":
            topics = versions[number > len(steps) // 2]
            members[f"m{number}"] = Member(topics, b"", frozenset(), number)
        members = settled(members, counts)


def settled(members: dict[str, Member], counts: dict[str, int]) -> dict[str, Member]:
    """After as many rounds as it takes, of which there are few."""
    for _ in range(4):
        shares = hold_back(members, decide(members, counts, Rules()))
        for name, other in permutations(members, 2):
            for tp in shares[name].partitions - members[name].owned:
                assert not mates(tp, members[name], members[other], counts), (name, tp, other)
        before = members
        members = {name: m._replace(owned=shares[name].partitions) for name, m in before.items()}
        if members == before:
            return members
    raise AssertionError(f"does not settle: {members}")


def mates(
    tp: TopicPartition, taker: Member, holder: Member, counts: dict[str, int]
) -> list[TopicPartition]:
    """What one member holds that belongs with a partition which another one takes."""
    together = taker.topics | (holder.topics if tp.topic in holder.topics else frozenset())
    return [
        held
        for held in holder.owned & {TopicPartition(t, tp.partition) for t in together}
        if counts[held.topic] == counts[tp.topic]
    ]
