"""Requests that are answered over several turns though they write nothing: the others have theirs
in between (X4)."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.events import Disconnected
from flowstream.broker.groups.commits import NewOffset
from flowstream.broker.groups.records import offset_record
from flowstream.broker.handlers import offset_fetch, slicing
from flowstream.broker.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from tests.broker.machine import Machine
from tests.broker.server.serving import VERSIONS, served

GROUPS = 12
EACH = 5


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "SLICE", 3 * slicing.TOPIC_WEIGHT)
    monkeypatch.setattr(offset_fetch, "SLICE", 2 * (offset_fetch.GROUP_WEIGHT + EACH))


def commit(machine: Machine, group: str, offset: int) -> None:
    for number in range(EACH):
        name = TopicPartition("t", number)
        value = NewOffset(name, offset).value(machine.now)
        machine.cores.groups.apply(offset_record(group, *name, value))


def fetching() -> OffsetFetchRequest:
    asked = (OffsetFetchRequestGroup(group_id=f"g{at}", topics=None) for at in range(GROUPS))
    return OffsetFetchRequest(groups=tuple(asked))


def told(answer: Any) -> dict[str, set[int]]:
    return {
        group.group_id: {p.committed_offset for t in group.topics for p in t.partitions}
        for group in answer.groups
    }


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    for at in range(GROUPS):
        commit(made, f"g{at}", at)
    return made


def turns_until_answered(machine: Machine, asked: int) -> int:
    turns = 1
    while asked not in machine.replies:
        machine.wait(1)
        turns += 1
        assert turns < 100
    return turns


def test_X4_the_positions_of_many_groups_are_told_over_some_turns(machine: Machine) -> None:
    asked = machine.post(fetching(), 8)
    assert turns_until_answered(machine, asked) == GROUPS / 2
    answer = machine.answer(asked)
    assert [group.group_id for group in answer.groups] == [f"g{at}" for at in range(GROUPS)]
    assert told(answer) == {f"g{at}": {at} for at in range(GROUPS)}


def test_T9_the_positions_of_one_group_are_told_together(machine: Machine) -> None:
    asked = machine.post(fetching(), 8)
    commit(machine, "g0", 100)
    commit(machine, "g11", 100)
    turns_until_answered(machine, asked)
    found = told(machine.answer(asked))
    assert (found["g0"], found["g11"]) == ({0}, {100})


def test_nobody_waits_for_the_turns_of_who_left(machine: Machine) -> None:
    asked = machine.post(fetching(), 8)
    machine.carry_out(machine.node.handle(Disconnected(machine.connection), machine.now))
    machine.wait(100)
    assert asked not in machine.replies
    assert machine.cores.waiting.deadline() is None


def validation(*names: str) -> CreateTopicsRequest:
    wanted = (CreatableTopic(name=name, num_partitions=1, replication_factor=1) for name in names)
    return CreateTopicsRequest(topics=tuple(wanted), validate_only=True)


def test_X4_many_topics_are_validated_over_some_turns_as_in_one(machine: Machine) -> None:
    names = [f"t{at}" for at in range(10)]
    asked = machine.post(validation("a.b", *names, "a_b", "twice", "twice"), 5)
    assert turns_until_answered(machine, asked) > len(names) / 3
    found = {each.name: each.error_code for each in machine.answer(asked).topics}
    assert found.pop("a_b") == ErrorCode.INVALID_TOPIC_EXCEPTION, "a.b would have its metrics"
    assert found.pop("twice") == ErrorCode.INVALID_REQUEST
    assert found == dict.fromkeys(["a.b", *names], 0)
    assert not machine.cores.image.topics


def test_what_is_to_be_changed_is_changed_though_its_client_left(machine: Machine) -> None:
    """A first slice of names that nobody has took what came behind it along."""
    wanted = CreatableTopic(name="last", num_partitions=1, replication_factor=1)
    assert machine.ask(CreateTopicsRequest(topics=(wanted,)), 7).topics[0].error_code == 0
    names = [*(f"none-{at}" for at in range(10)), "last"]
    machine.post(DeleteTopicsRequest(topics=tuple(DeleteTopicState(name=n) for n in names)), 6)
    machine.carry_out(machine.node.handle(Disconnected(machine.connection), machine.now))
    for _ in names:
        machine.wait(1)
    assert "last" not in machine.cores.image.topics


async def test_X4_the_turns_come_by_themselves_and_the_next_answer_waits_for_them() -> None:
    async with served() as broker:
        client = await broker.client()
        await client.ask(18, 3, VERSIONS)
        before = broker.driver.turn
        answer = await client.ask(9, 8, fetching())
        assert len(answer.groups) == GROUPS
        answer = await client.ask(19, 5, validation(*(f"t{at}" for at in range(10))))
        assert {each.error_code for each in answer.topics} == {0}
        assert broker.driver.turn > before + 3
        await client.close()
