"""The node: what leaves at once, what waits for which group, in what order."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.doors import Append, Flush, MakeDirectory, Remove, Replace
from flowstream.broker.effects import Effect, Reply, WhenDurable, Write
from flowstream.broker.events import Durable, Request
from flowstream.broker.types import ConnectionId, Instant, ReplyTo, TopicPartition
from flowstream.errors import FlowstreamError
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.produce import ProduceRequest
from tests.broker.machine import TIME, Machine
from tests.broker.server.serving import fetch_request, produce_request

TO = ReplyTo(ConnectionId(1), 1, 0, 8)


@pytest.fixture
def machine() -> Machine:
    made = Machine(num_partitions="1")
    wanted = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(wanted,), timeout_ms=1000), 5)
    return made


def post(machine: Machine, key: int, version: int, body: object) -> list[Effect]:
    """Hand a request to the node; the effects that the driver sees."""
    from flowstream.wire.frame import decode_request, encode_request

    raw = bytearray(b"".join(encode_request(key, version, 1, "c", body)))
    decoded = decode_request(memoryview(raw)[4:])
    to = ReplyTo(ConnectionId(1), 1, key, version)
    return machine.node.handle(Request(to, "c", "h", decoded.body), machine.now)


def write(machine: Machine, effects: list[Effect]) -> None:
    for effect in effects:
        if isinstance(effect, Write):
            machine.storage.perform(effect.operations)


def produced(value: bytes = b"x") -> ProduceRequest:
    return produce_request(value, timestamp=TIME)


def replies(effects: list[Effect]) -> list[Any]:
    return [effect.body for effect in effects if isinstance(effect, Reply)]


def test_D4_an_answer_waits_for_its_own_group_and_no_other(machine: Machine) -> None:
    node, now = machine.node, machine.now
    write(machine, post(machine, 0, 8, produced(b"a")))
    first = node.close_group()
    write(machine, post(machine, 0, 8, produced(b"b")))
    second = node.close_group()
    assert first is not None
    assert second == first + 1
    answers = replies(node.handle(Durable(first), now))
    assert [a.responses[0].partition_responses[0].base_offset for a in answers] == [0]
    log = machine.cores.logs.by_name[TopicPartition("t", 0)]
    assert (log.high_watermark, log.log_end) == (1, 2)
    assert len(replies(node.handle(Durable(second), now))) == 1
    assert log.high_watermark == 2


def test_one_sync_releases_every_group_up_to_it(machine: Machine) -> None:
    node, now = machine.node, machine.now
    for _ in range(3):
        write(machine, post(machine, 0, 8, produced()))
        newest = node.close_group()
    assert newest is not None
    answers = replies(node.handle(Durable(newest), now))
    assert [a.responses[0].partition_responses[0].base_offset for a in answers] == [0, 1, 2]


def test_L6_a_reader_sees_nothing_that_is_not_durable(machine: Machine) -> None:
    node, now = machine.node, machine.now
    write(machine, post(machine, 0, 8, produced(b"hidden")))
    group = node.close_group()
    assert group is not None
    (answer,) = replies(post(machine, 1, 11, fetch_request(0)))
    assert bytes(answer.responses[0].partitions[0].records) == b""
    assert post(machine, 1, 11, fetch_request(0, wait_ms=1000)) == []
    found = replies(node.handle(Durable(group), now))
    fetched = [each for each in found if hasattr(each, "session_id")]
    assert b"hidden" in bytes(fetched[0].responses[0].partitions[0].records)


def test_with_nothing_pending_it_is_durable_already(machine: Machine) -> None:
    effects = machine.node._carry_out([WhenDurable(lambda now: [Reply(TO, "now")])], machine.now)
    assert effects == [Reply(TO, "now")]


def test_what_follows_a_pending_group_waits_for_it(machine: Machine) -> None:
    node, now = machine.node, machine.now
    write(machine, post(machine, 0, 8, produced()))
    group = node.close_group()
    assert group is not None
    assert node._carry_out([WhenDurable(lambda now: [Reply(TO, "later")])], now) == []
    assert node.close_group() is None
    assert "later" in replies(node.handle(Durable(group), now))


def test_a_long_poll_on_a_deleted_topic_is_answered(machine: Machine) -> None:
    assert post(machine, 1, 11, fetch_request(0, wait_ms=60_000)) == []
    write(machine, post(machine, 20, 6, DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),))))
    group = machine.node.close_group()
    assert group is not None
    answers = replies(machine.node.handle(Durable(group), Instant(machine.now + 1)))
    codes = [
        each.responses[0].partitions[0].error_code
        for each in answers
        if hasattr(each, "session_id")
    ]
    assert codes == [3]


def test_D7_a_stray_directory_is_kept_aside(machine: Machine) -> None:
    storage = machine.storage
    storage.perform([MakeDirectory("lost-0"), Replace("lost-0/partition.metadata", b"x")])
    machine.open()
    assert "lost-0-stray" in storage.names("")
    assert "lost-0" not in storage.names("")


def test_D5_strays_of_one_name_are_all_kept(machine: Machine) -> None:
    """Each crash in the creation of a topic may leave one; a taken name refused the start."""
    storage = machine.storage
    for content in (b"1", b"2", b"3"):
        log = "lost-0/00000000000000000000.log"
        storage.perform([MakeDirectory("lost-0"), Append(log, (content,)), Flush(log)])
        machine.open()
    kept = [name for name in storage.names("") if name.startswith("lost")]
    assert kept == ["lost-0-2-stray", "lost-0-3-stray", "lost-0-stray"]


def test_D5_of_a_topic_whose_record_was_lost_nothing_stays_unless_it_was_written_to(
    machine: Machine,
) -> None:
    storage = machine.storage
    identity = bytes(storage.read("t-0/partition.metadata", 0, 100))
    for number in range(2):
        storage.perform(
            [
                MakeDirectory(f"new-{number}"),
                Replace(f"new-{number}/partition.metadata", identity),
                Append(f"new-{number}/00000000000000000000.log", (b"x" * number,)),
            ]
        )
    machine.open()
    assert [name for name in storage.names("") if "new" in name] == ["new-1-stray"]


def test_D5_a_log_whose_files_the_crash_took_knows_its_first_epoch(machine: Machine) -> None:
    storage = machine.storage
    storage.perform([Remove(f"t-0/{name}") for name in storage.names("t-0")])
    machine.open()
    machine.settle()
    epochs = bytes(storage.read("t-0/leader-epoch-checkpoint", 0, 100))
    assert epochs == b"0\n1\n0 0\n"


def test_D7_a_metadata_log_without_its_beginning_is_refused(machine: Machine) -> None:
    from flowstream.broker.opening import replay_metadata

    log = machine.cores.metadata_log
    log.log_start = 1
    with pytest.raises(FlowstreamError, match="snapshot"):
        replay_metadata(log)
