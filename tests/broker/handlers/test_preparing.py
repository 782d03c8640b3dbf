"""A topic larger than a slice: others have their turn while it is made, and nobody sees a part of
it (X4).
"""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.cores import OFFSETS_TOPIC
from flowstream.broker.handlers import metadata, slicing
from flowstream.broker.types import ConnectionId, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import CreatableTopicConfig
from flowstream.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from flowstream.wire.schema import replace
from tests.broker.handlers.test_slicing import (
    SLICE,
    creation,
    deletion,
    errors,
    growth,
)
from tests.broker.machine import Machine, batch, produce
from tests.broker.server.serving import VERSIONS, served

LARGE = 3 * SLICE - 5
"""Three slices."""
ALL = MetadataRequest(topics=None)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "SLICE", SLICE)
    monkeypatch.setattr(metadata, "CREATED_PARTITIONS", SLICE)


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.ask(creation("quick", partitions=1), 5)
    return made


def seen(machine: Machine) -> dict[str, int]:
    """Topics and partitions, as a client of its own is told."""
    own = machine.connection
    machine.connection = ConnectionId(3)
    asked = machine.post(ALL, 12)
    told = {each.name: len(each.partitions) for each in machine.answer(asked).topics}
    machine.connection = own
    assert told == dict(machine.cores.logs.partitions)
    return told


def until_answered(machine: Machine, asked: int) -> list[dict[str, int]]:
    """What is seen before each sync until the answer leaves; a neighbour is answered with each."""
    found = []
    own = machine.connection
    while asked not in machine.replies:
        found.append(seen(machine))
        machine.connection = ConnectionId(2)
        neighbour = machine.post(produce("quick", 0, batch(b"v")), 8)
        machine.connection = own
        assert machine.settle_once()
        assert machine.answer(neighbour).responses[0].partition_responses[0].error_code == 0
    return found


def directories(machine: Machine) -> set[str]:
    return {each for each in machine.storage.names("") if each.rpartition("-")[2].isdecimal()}


def whole(topic: str, count: int) -> set[str]:
    return {f"{topic}-{number}" for number in range(count)}


def test_X4_a_large_topic_is_seen_when_all_of_it_is_there(machine: Machine) -> None:
    asked = machine.post(creation("large", partitions=LARGE), 5)
    found = until_answered(machine, asked)
    # Its records become durable with the last sync.
    assert found == [{"quick": 1}] * 3 + [{"quick": 1, "large": LARGE}]
    assert errors(machine.answer(asked).topics) == {"large": 0}
    last = TopicPartition("large", LARGE - 1)
    answer = machine.ask(produce(last.topic, last.partition, batch(b"v")), 8)
    assert answer.responses[0].partition_responses[0].error_code == 0
    assert not machine.cores.logs.prepared


def test_X4_a_topic_that_grows_by_much_is_seen_to_grow_once(machine: Machine) -> None:
    asked = machine.post(growth(1 + LARGE, "quick"), 3)
    found = until_answered(machine, asked)
    assert found == [{"quick": 1}] * 3 + [{"quick": 1 + LARGE}]
    assert errors(machine.answer(asked).results) == {"quick": 0}


async def test_X4_parts_are_turns_when_nothing_is_synced() -> None:
    """Durability `os`: what is durable at once still lets others have the next turn."""
    async with served(fsync=False) as broker:
        client = await broker.client()
        await client.ask(18, 3, VERSIONS)
        before = broker.driver.turn
        answer = await client.ask(19, 5, creation("large", partitions=LARGE))
        assert set(errors(answer.topics).values()) == {0}
        assert broker.driver.turn >= before + 4
        await client.close()


@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("grows", [False, True])
def test_D5_a_crash_leaves_a_large_topic_whole_or_not_at_all(
    machine: Machine, after: int, grows: bool
) -> None:
    wanted: Any = growth(1 + LARGE, "quick") if grows else creation("large", partitions=LARGE)
    version = 3 if grows else 5
    before, made = {"quick": 1}, {"quick": 1 + LARGE} if grows else {"quick": 1, "large": LARGE}
    machine.post(wanted, version)
    for _ in range(after):
        machine.settle_once()
    machine.crash()
    # The last records may be on disk before the sync that nobody saw the end of.
    assert seen(machine) in ([before, made] if after >= 3 else [before])
    assert after < 4 or seen(machine) == made
    expected = {name for topic, count in seen(machine).items() for name in whole(topic, count)}
    assert directories(machine) - {"__cluster_metadata-0"} == expected
    assert not [line for line in machine.report if "kept aside" in line]
    if seen(machine) == before:
        machine.ask(wanted, version)
    assert seen(machine) == made


def test_V4_a_stop_leaves_nothing_of_a_topic_that_is_not_whole(machine: Machine) -> None:
    machine.post(creation("large", partitions=LARGE), 5)
    machine.settle_once()
    machine.cores.is_ending = True
    machine.stop()
    machine.open()
    assert seen(machine) == {"quick": 1}
    assert directories(machine) == {"__cluster_metadata-0", "quick-0"}


def test_who_wants_the_name_waits_for_it(machine: Machine) -> None:
    first = machine.post(creation("large.topic", partitions=LARGE), 5)
    again = machine.post(creation("large.topic", partitions=1), 5)
    alike = machine.post(creation("large_topic", "other", partitions=SLICE - 4), 5)
    more = machine.post(growth(LARGE + 1, "large.topic"), 3)
    gone = machine.post(deletion("large.topic"), 6)
    late = machine.post(creation("large.topic", partitions=2), 5)
    for _ in range(3):
        assert not machine.replies
        machine.settle_once()
    machine.settle()
    machine.wait(1)
    assert errors(machine.answer(first).topics) == {"large.topic": 0}
    assert errors(machine.answer(again).topics) == {"large.topic": ErrorCode.TOPIC_ALREADY_EXISTS}
    taken = ErrorCode.INVALID_TOPIC_EXCEPTION
    assert errors(machine.answer(alike).topics) == {"large_topic": taken, "other": 0}
    assert errors(machine.answer(more).results) == {"large.topic": 0}
    assert errors(machine.answer(gone).responses) == {"large.topic": 0}
    assert errors(machine.answer(late).topics) == {"large.topic": 0}
    assert seen(machine) == {"quick": 1, "other": SLICE - 4, "large.topic": 2}
    assert not machine.cores.changing


def test_who_only_asks_for_it_hears_that_it_is_unknown(machine: Machine) -> None:
    """And makes no topic of that name with the default number of partitions."""
    asked = machine.post(creation("large.topic", partitions=LARGE), 5)
    names = tuple(MetadataRequestTopic(name=name) for name in ("large.topic", "large_topic"))
    told = machine.post(MetadataRequest(topics=names), 12)
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [each.error_code for each in machine.answer(told).topics] == [unknown] * 2
    machine.settle()
    assert errors(machine.answer(asked).topics) == {"large.topic": 0}


def question(*names: str) -> MetadataRequest:
    topics = tuple(MetadataRequestTopic(name=name) for name in names)
    return MetadataRequest(topics=topics, allow_auto_topic_creation=True)


def test_X4_a_large_topic_that_a_question_makes_is_made_in_slices() -> None:
    """With `num.partitions` above a slice; who asks meanwhile hears that it is unknown."""
    machine = Machine(num_partitions=str(LARGE))
    machine.ask(creation("quick", partitions=1), 5)
    asked = machine.post(question("large", "quick", "another"), 12)
    again = machine.answer(machine.post(question("large"), 12)).topics
    assert [each.error_code for each in again] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    found = until_answered(machine, asked)
    assert found == [{"quick": 1}] * 3 + [{"quick": 1, "large": LARGE}]
    told = {
        each.name: (each.error_code, len(each.partitions)) for each in machine.answer(asked).topics
    }
    unknown = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 0)
    assert told == {"large": (0, LARGE), "quick": (0, 1), "another": unknown}
    assert not machine.cores.changing


def test_internal_topics_do_not_wait_for_what_else_a_question_makes() -> None:
    machine = Machine(num_partitions=str(LARGE))
    machine.post(question(OFFSETS_TOPIC, "large"), 12)
    assert list(machine.cores.logs.partitions) == [OFFSETS_TOPIC]
    machine.settle()
    assert list(machine.cores.logs.partitions) == [OFFSETS_TOPIC, "large"]


def test_X4_who_makes_a_deleted_topic_anew_waits_until_that_is_written(machine: Machine) -> None:
    """In the loop it would wait for the disk, and everybody with it."""
    gone = machine.post(deletion("quick"), 6)
    late = machine.post(creation("quick", partitions=2), 5)
    asked = machine.post(question("quick"), 12)
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert [each.error_code for each in machine.answer(asked).topics] == [unknown]
    assert "quick" not in machine.cores.logs.partitions
    machine.settle_once()
    assert machine.cores.logs.partitions["quick"] == 2
    machine.settle()
    assert errors(machine.answer(gone).responses) == {"quick": 0}
    assert errors(machine.answer(late).topics) == {"quick": 0}
    assert not machine.cores.changing


def test_its_settings_are_those_of_the_moment_when_it_is_there(machine: Machine) -> None:
    config = CreatableTopicConfig(name="index.interval.bytes", value="77")
    wanted = creation("large", partitions=LARGE)
    machine.ask(replace(wanted, topics=(replace(wanted.topics[0], configs=(config,)),)), 5)
    first, last = (
        machine.cores.logs.by_name[TopicPartition("large", number)] for number in (0, LARGE - 1)
    )
    assert first.active.interval == last.active.interval == 77
    machine.post(growth(1 + LARGE, "quick"), 3)
    change = AlterableConfig(name="retention.ms", config_operation=0, value="5000")
    resource = AlterConfigsResource(resource_type=2, resource_name="quick", configs=(change,))
    machine.ask(IncrementalAlterConfigsRequest(resources=(resource,)), 1)
    grown = machine.cores.logs.by_name[TopicPartition("quick", LARGE)]
    assert grown.config == machine.cores.logs.by_name[TopicPartition("quick", 0)].config
    assert grown.config.retention_ms == 5000


def test_internal_topics_are_made_at_once(machine: Machine) -> None:
    """Whoever joins a group needs them in the same turn."""
    machine.post(creation(OFFSETS_TOPIC, partitions=LARGE), 5)
    assert machine.cores.logs.partitions[OFFSETS_TOPIC] == LARGE
    machine.settle()
