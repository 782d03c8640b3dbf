"""What one request may cost, whatever it names (X4): counted in calls, for every array of every
API.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowstream.broker import breadth
from flowstream.broker.breadth import CREATION_ELEMENTS, elements_allowed
from flowstream.broker.events import Request
from flowstream.broker.handlers import ROUTES
from flowstream.broker.types import ReplyTo
from flowstream.errors import WireError
from flowstream.wire.api import ApiKey, request_class
from flowstream.wire.decoder import ELEMENTS
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import Layout, WireType, layout_of
from flowstream.wire.frame import decode_request, encode_request, encode_response
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from flowstream.wire.messages.list_groups import ListGroupsRequest
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.broker.machine import Machine
from tests.broker.server.serving import VERSIONS, create_topic, served

TOPICS = 100
CALLS = 150
"""Of one element at most, each some 0.1 us: WriteTxnMarkers, which writes a batch for each
partition, makes 125, all others make at most 60.
"""
MANY = 300


def populated() -> Machine:
    """A machine with topics of four partitions."""
    made = Machine(offsets_topic_num_partitions="2", auto_create_topics_enable="false")
    topics = tuple(
        CreatableTopic(name=f"t{number}", num_partitions=4, replication_factor=1)
        for number in range(TOPICS)
    )
    made.ask(CreateTopicsRequest(topics=topics, timeout_ms=1000), 5)
    made.init("t")
    return made


class Naming:
    """Makes messages whose fields name things that exist, or do not, or one thing all the time."""

    def __init__(self, machine: Machine, version: int, kind: str) -> None:
        self.machine = machine
        self.version = version
        self.kind = kind

    def message(self, layout: Layout, path: tuple[str, ...], wide: int, count: int) -> Any:
        """The array at place `wide` of `path` has `count` elements, those around it one."""
        return self._around(layout, path, wide, count, 0)

    def _around(
        self, layout: Layout, path: tuple[str, ...], wide: int, count: int, number: int
    ) -> Any:
        name, rest = path[0], path[1:]
        element = next(each for each in layout.fields if each.name == name).type.element
        assert element is not None

        def one(index: int) -> Any:
            if element.layout is None:
                return self._value(name, element, index)
            if rest:
                return self._around(element.layout, rest, wide - 1, count, index)
            return self._struct(element.layout, index, {})

        numbers = range(count) if wide == 0 else (number,)
        return self._struct(layout, number, {name: tuple(one(each) for each in numbers)})

    def _struct(self, layout: Layout, number: int, given: dict[str, Any]) -> Any:
        values = dict(given)
        for each in layout.fields:
            present = self.version in each.versions and self.version not in each.tagged
            if each.name in given or not present:
                continue
            if each.type.name == "array":
                values[each.name] = ()
            elif each.type.layout is not None:
                values[each.name] = self._struct(each.type.layout, number, {})
            else:
                values[each.name] = self._value(each.name, each.type, number)
        return layout.cls(**values)

    def _value(self, name: str, type: WireType[Any], number: int) -> Any:
        own = number if self.kind != "one" else 0
        if name.endswith("_type") and type.name == "int8":
            return 2  # a topic
        if type.name.endswith("string"):
            if "transactional" in name:
                return "t"
            return f"new{own}" if self.kind == "unknown" else f"t{own % TOPICS}"
        if type.name == "uuid":
            if self.kind == "unknown":
                return number.to_bytes(16, "big")
            return self.machine.cores.image.topics[f"t{own % TOPICS}"].topic_id
        if "partition" in name or name == "index":
            return own if self.kind == "unknown" else own // TOPICS % 4
        return 1 if type.format and type.name != "bool" else type.default


def paths(layout: Layout, version: int, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every array of a message."""
    for each in layout.fields:
        element = each.type.element
        if element is None or version not in each.versions:
            continue
        yield (*before, each.name)
        if element.layout is not None:
            yield from paths(element.layout, version, (*before, each.name))


def calls_of(work: Callable[[], object]) -> int:
    """How many calls `work` makes, of functions in Python and in C."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def cost(machine: Machine, frame: bytes) -> int:
    """Calls that a request takes, from its bytes to those of its answer."""
    machine.replies.clear()

    def work() -> None:
        key, version, _, client, body = decode_request(memoryview(bytearray(frame)), ELEMENTS)
        machine._asked += 1
        to = ReplyTo(machine.connection, machine._asked, key, version)
        effects = machine.node.handle(
            Request(to, client, "127.0.0.1", body, machine.session, len(frame)), machine.now
        )
        machine.carry_out(effects)
        for answered, answer in machine.replies.values():
            encode_response(answered.api_key, answered.version, 1, answer)

    def refused() -> None:
        try:
            work()
        except WireError:
            pass  # a refusal costs its connection

    return calls_of(refused)


MADE = {ApiKey.CREATE_TOPICS, ApiKey.CREATE_PARTITIONS, ApiKey.DELETE_TOPICS}
"""These are cut into slices, see `test_slicing`."""


@pytest.mark.parametrize("key", sorted(ROUTES.keys() - MADE))
def test_X4_every_element_of_every_request_costs_a_bounded_number_of_calls(key: int) -> None:
    version, layout = ROUTES[key].newest, layout_of(request_class(key))
    machine = populated()
    for path in paths(layout, version):
        for wide in range(len(path)):
            for kind in ("unknown", "existing", "one"):
                naming = Naming(machine, version, kind)

                def frame(count: int) -> bytes:
                    body = naming.message(layout, path, wide, count)  # noqa: B023
                    return b"".join(encode_request(key, version, 1, "c", body))[4:]

                cost(machine, frame(1))  # compiles codecs, imports handlers
                few, many = cost(machine, frame(MANY // 3)), cost(machine, frame(MANY))
                each = (many - few) / (MANY - MANY // 3) / (len(path) - wide)
                assert each <= CALLS, (ROUTES[key].module, path, wide, kind, each)


def test_X4_what_a_request_may_name_grows_with_what_exists() -> None:
    machine = Machine()
    nothing = elements_allowed(machine.cores, ApiKey.FETCH)
    assert nothing == ELEMENTS
    topics = tuple(
        CreatableTopic(name=f"t{number}", num_partitions=3, replication_factor=1)
        for number in range(10)
    )
    machine.ask(CreateTopicsRequest(topics=topics, timeout_ms=1000), 5)
    assert elements_allowed(machine.cores, ApiKey.FETCH) == nothing + 2 * (10 + 30)


async def test_X4_topics_come_with_their_settings_and_are_no_more_than_others() -> None:
    """Three thousand with two settings each are more things than anything else may name."""
    configs = tuple(
        CreatableTopicConfig(name=name, value="5000") for name in ("retention.ms", "segment.ms")
    )

    def asked(count: int) -> CreateTopicsRequest:
        topics = tuple(
            CreatableTopic(name=f"t{n}", num_partitions=1, replication_factor=1, configs=configs)
            for n in range(count)
        )
        return CreateTopicsRequest(topics=topics, timeout_ms=1000, validate_only=True)

    async with served() as broker:
        client = await broker.client()
        answer = await client.ask(19, 4, asked(ELEMENTS // 2))
        assert {each.error_code for each in answer.topics} == {0}
        answer = await client.ask(19, 4, asked(ELEMENTS + 1))
        assert {each.error_code for each in answer.topics} == {ErrorCode.POLICY_VIOLATION}
        assert len(answer.topics) == ELEMENTS + 1
        client.send(19, 4, asked(CREATION_ELEMENTS // 3 + 1))
        assert await client.is_closed()
        await client.close()


async def test_X4_a_request_that_names_too_much_costs_its_own_connection() -> None:
    many = tuple(MetadataRequestTopic(name=None, topic_id=bytes(16)) for _ in range(ELEMENTS + 1))
    async with served() as broker:
        bad, innocent = await broker.client(), await broker.client()
        bad.send(3, 12, MetadataRequest(topics=many))
        assert await bad.is_closed()
        assert (await innocent.ask(18, 3, VERSIONS)).error_code == 0
        await innocent.close()
        await bad.close()


async def test_X4_a_consumer_of_everything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names every partition with its topic, and every one that it reads no more."""
    monkeypatch.setattr("flowstream.broker.server.connection.ELEMENTS", 10)
    monkeypatch.setattr(breadth, "ELEMENTS", 10)
    async with served() as broker:
        client = await broker.client()
        names = [f"t{number}" for number in range(20)]
        for name in names:
            await create_topic(client, name)
        partition = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
        wanted = FetchRequest(
            max_wait_ms=0,
            topics=tuple(FetchTopic(topic=name, partitions=(partition,)) for name in names),
            forgotten_topics_data=tuple(
                ForgottenTopic(topic=name, partitions=(0,)) for name in names
            ),
        )
        answer = await client.ask(1, 11, wanted)
        assert [each.topic for each in answer.responses] == names
        assert (await client.ask(16, 4, ListGroupsRequest())).error_code == 0
        twice = FetchRequest(max_wait_ms=0, topics=wanted.topics * 3)
        client.send(1, 11, twice)
        assert await client.is_closed()
        await client.close()
