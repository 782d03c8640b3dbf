"""Topics that come, grow and go by the thousand: the others have their turn in between (X4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from flowstream.broker import coordination
from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Replace
from flowstream.broker.effects import Effect, Write
from flowstream.broker.handlers import metadata, slicing
from flowstream.broker.handlers.slicing import TOPIC_WEIGHT, slices
from flowstream.broker.log import checkpoints
from flowstream.broker.metadata import topic_rules
from flowstream.broker.types import ConnectionId
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from flowstream.wire.messages.list_groups import ListGroupsRequest
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.broker.machine import Machine, batch, produce
from tests.broker.server.serving import VERSIONS, served, until

SLICE = 16
"""Small, so that the tests are quick."""
EACH = SLICE // 2
"""Partitions of a topic, so that there is one to a slice."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "SLICE", SLICE)


def creation(*names: str, partitions: int = EACH, validate_only: bool = False) -> Any:
    wanted = tuple(
        CreatableTopic(name=name, num_partitions=partitions, replication_factor=1) for name in names
    )
    return CreateTopicsRequest(topics=wanted, timeout_ms=1000, validate_only=validate_only)


def deletion(*names: str) -> DeleteTopicsRequest:
    states = tuple(DeleteTopicState(name=name) for name in names)
    return DeleteTopicsRequest(topics=states, timeout_ms=1000)


def growth(count: int, *names: str) -> CreatePartitionsRequest:
    wanted = tuple(CreatePartitionsTopic(name=n, count=count, assignments=None) for n in names)
    return CreatePartitionsRequest(topics=wanted, timeout_ms=1000)


def errors(answers: Sequence[Any]) -> dict[str, int]:
    return {each.name: each.error_code for each in answers}


NAMES = ("a", "b", "c", "d")


def turns_until_answered(machine: Machine, asked: int) -> int:
    """Write groups until the answer leaves; in each a neighbour asks and is answered."""
    others = 0
    first = machine.connection
    while asked not in machine.replies:
        machine.connection = ConnectionId(2)
        neighbour = machine.post(produce("quick", 0, batch(b"v")), 8)
        assert machine.settle_once()
        assert machine.answer(neighbour).responses[0].partition_responses[0].error_code == 0
        others += 1
    machine.connection = first
    return others


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.ask(creation("quick", partitions=1), 5)
    return made


def test_X4_a_neighbour_is_answered_between_topics_that_are_made(machine: Machine) -> None:
    asked = machine.post(creation(*NAMES), 5)
    assert turns_until_answered(machine, asked) == len(NAMES)
    assert set(errors(machine.answer(asked).topics).values()) == {0}
    assert all(machine.cores.logs.partitions[name] == EACH for name in NAMES)


def test_X4_a_neighbour_is_answered_between_topics_that_grow(machine: Machine) -> None:
    for name in NAMES:
        machine.ask(creation(name, partitions=1), 5)
    asked = machine.post(growth(1 + EACH, *NAMES), 3)
    assert turns_until_answered(machine, asked) == len(NAMES)
    assert set(errors(machine.answer(asked).results).values()) == {0}
    assert machine.cores.logs.partitions["d"] == 1 + EACH


def test_X4_a_neighbour_is_answered_between_topics_that_go(machine: Machine) -> None:
    machine.ask(creation(*NAMES), 5)
    asked = machine.post(deletion(*NAMES, "no such topic"), 6)
    assert turns_until_answered(machine, asked) == len(NAMES)
    answered = errors(machine.answer(asked).responses)
    assert answered.pop("no such topic") == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert answered == dict.fromkeys(NAMES, 0)
    assert list(machine.cores.logs.partitions) == ["quick"]


async def test_X4_slices_are_turns_when_nothing_is_synced() -> None:
    """Durability `os`: what is durable at once still lets others have the next turn."""
    async with served(fsync=False) as broker:
        client = await broker.client()
        await client.ask(18, 3, VERSIONS)
        before = broker.driver.turn
        answer = await client.ask(19, 5, creation(*NAMES))
        assert set(errors(answer.topics).values()) == {0}
        assert broker.driver.turn >= before + len(NAMES)
        await client.close()


async def test_V4_a_stop_does_not_wait_for_the_slices_that_are_left() -> None:
    for fsync in (True, False):
        async with served(fsync=fsync) as broker:
            client = await broker.client()
            await client.ask(18, 3, VERSIONS)
            client.send(19, 5, creation(*(f"t{number}" for number in range(40))))
            made = broker.driver.cores.logs.partitions
            await until(lambda made=made: bool(made))
            await broker.driver.stop()
            assert 0 < len(made) < 40
            assert await client.is_closed()
            await client.close()


def test_a_name_that_is_taken_between_two_slices_is_not_made_twice(machine: Machine) -> None:
    asked = machine.post(creation("a", "b"), 5)
    machine.post(creation("b", "a.b", partitions=1), 5)
    machine.settle()
    assert errors(machine.answer(asked).topics) == {"a": 0, "b": ErrorCode.TOPIC_ALREADY_EXISTS}
    assert machine.cores.logs.partitions["b"] == 1


def test_the_partitions_of_all_slices_are_counted_together(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_rules, "MAX_PARTITIONS", 100)
    expected = {"a": 0, "b": 0, "c": ErrorCode.POLICY_VIOLATION}
    assert errors(machine.ask(creation("a", "b", "c", partitions=40), 5).topics) == expected
    grown = machine.ask(growth(90, "a", "b"), 3).results
    assert errors(grown) == {"a": 0, "b": 0}
    again = machine.ask(growth(141, "a", "b"), 3).results
    assert errors(again) == {"a": 0, "b": ErrorCode.POLICY_VIOLATION}


def test_nothing_is_made_where_it_is_only_asked_whether_it_could(machine: Machine) -> None:
    wanted = creation("a", "b.c", "b_c", validate_only=True)
    taken = ErrorCode.INVALID_TOPIC_EXCEPTION
    assert errors(machine.ask(wanted, 5).topics) == {"a": 0, "b.c": 0, "b_c": taken}
    assert list(machine.cores.logs.partitions) == ["quick"]


@pytest.mark.parametrize("after", range(1, 5))
def test_D5_a_crash_between_two_slices_leaves_whole_topics(machine: Machine, after: int) -> None:
    machine.post(creation(*NAMES), 5)
    for _ in range(after):
        machine.settle_once()
    machine.crash()
    made = {name: machine.cores.logs.partitions.get(name, 0) for name in NAMES}
    assert list(made.values()) == [EACH] * after + [0] * (len(NAMES) - after)
    again = errors(machine.ask(creation(*NAMES), 5).topics)
    known = ErrorCode.TOPIC_ALREADY_EXISTS
    assert list(again.values()) == [known] * after + [0] * (len(NAMES) - after)


@pytest.mark.parametrize("after", range(1, 5))
def test_D5_a_crash_between_two_slices_deletes_whole_topics(machine: Machine, after: int) -> None:
    machine.ask(creation(*NAMES), 5)
    machine.post(deletion(*NAMES), 6)
    for _ in range(after):
        machine.settle_once()
    machine.crash()
    left = {name: n for name, n in machine.cores.logs.partitions.items() if name != "quick"}
    # A removal is on disk as soon as it is performed: the next slice may be gone, too.
    assert list(left) in (list(NAMES[after:]), list(NAMES[after + 1 :]))
    assert set(left.values()) <= {EACH}
    assert not machine.report


class Watched(Machine):
    """Remembers which files were replaced."""

    def __init__(self) -> None:
        self.replaced: list[str] = []
        super().__init__()

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            for each in effect.operations if isinstance(effect, Write) else ():
                if isinstance(each, Replace):
                    self.replaced.append(each.path)
        super().carry_out(effects)


def test_X4_topics_that_go_together_write_the_checkpoints_once() -> None:
    """Once for each took twenty-four seconds for 1,500 topics, and nobody was answered."""
    machine = Watched()
    names = [f"t{number}" for number in range(50)]
    machine.ask(creation(*names, partitions=1), 5)
    machine.replaced.clear()
    machine.ask(deletion(*names), 6)
    assert machine.replaced.count(checkpoints.RECOVERY_POINT) == -(-50 // (SLICE // 5))


def test_X4_partitions_of_like_topics_share_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, str]] = []
    ours = coordination.log_settings

    def counted(config: BrokerConfig, own: dict[str, str]) -> Any:
        made.append(own)
        return ours(config, own)

    monkeypatch.setattr(coordination, "log_settings", counted)
    machine = Machine()
    machine.ask(creation("a", "b", partitions=SLICE // 2 - TOPIC_WEIGHT), 5)
    assert made == [{}]
    made.clear()
    # A setting of all brokers looks at all topics: a tenth of a millisecond for each.
    setting = AlterableConfig(name="log.retention.ms", config_operation=0, value="5000")
    brokers = AlterConfigsResource(resource_type=4, resource_name="", configs=(setting,))
    machine.ask(IncrementalAlterConfigsRequest(resources=(brokers,)), 1)
    assert made == [{}]
    assert {log.config.retention_ms for log in machine.cores.logs.by_name.values()} == {5000}


def test_X4_a_question_makes_a_bounded_number_of_topics(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a quota: the rest is unknown for now, and clients ask again."""
    monkeypatch.setattr(metadata, "CREATED_PARTITIONS", 20)
    names = [f"t{number}" for number in range(30)]
    wanted = MetadataRequest(topics=tuple(MetadataRequestTopic(name=name) for name in names))
    first = machine.ask(wanted, 12).topics
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [each.error_code for each in first] == [0] * 20 + [unknown] * 10
    again = machine.ask(wanted, 12).topics
    assert {each.error_code for each in again} == {0}


def test_items_are_cut_by_their_weight_and_equals_stay_together() -> None:
    room = SLICE - TOPIC_WEIGHT
    items = [("a", room), ("twice", 9), ("b", room - 5), ("c", 1), ("d", 2), ("twice", 9)]
    cut = slices(items, lambda each: each[0], lambda each: each[1])
    assert [[name for name, _ in part] for part in cut] == [
        ["twice", "twice", "a"],
        ["b", "c"],
        ["d"],
    ]
    assert slices([], lambda each: each, len) == [()]
    assert slices([("huge", 10 * SLICE)], lambda each: each[0], lambda each: each[1]) == [
        (("huge", 10 * SLICE),)
    ]


def test_a_list_of_nothing_is_answered(machine: Machine) -> None:
    assert machine.ask(CreateTopicsRequest(topics=(), timeout_ms=1000), 5).topics == ()
    assert machine.ask(deletion(), 6).responses == ()
    assert machine.ask(growth(3), 3).results == ()
    assert machine.ask(ListGroupsRequest(), 5).error_code == 0
