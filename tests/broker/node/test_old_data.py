"""Old data goes without holding up the loop, and whoever reads is told."""

from __future__ import annotations

from flowstream.broker.events import Tick
from flowstream.broker.log.upkeep import FIRST_CHECK_MS
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import encode_batch
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tests.broker.machine import TIME, Machine, produce


def machine(partitions: int, **settings: str) -> Machine:
    made = Machine(**settings)
    topic = CreatableTopic(name="t", num_partitions=partitions, replication_factor=1)
    assert made.ask(CreateTopicsRequest(topics=(topic,)), 7).topics[0].error_code == 0
    return made


def test_X4_a_tick_deletes_of_one_log_and_others_come_first() -> None:
    made = machine(5, log_retention_check_interval_ms="7000", log_retention_ms="5000")
    logs = [made.cores.logs.by_name[TopicPartition("t", at)] for at in range(5)]
    for at in range(5):
        made.produce("t", at, bytes(encode_batch([(made.now, b"k", b"v", ())])))
    made.now = Instant(made.now + 7000)
    starts = []
    for _ in range(7):
        made.carry_out(made.node.handle(Tick(), made.now))
        made.settle()
        starts.append(sum(log.log_start for log in logs))
    assert starts == [1, 2, 3, 4, 5, 5, 5]
    assert made.cores.upkeep.deadline() != 0


def test_L8_a_session_is_told_of_a_log_start_that_retention_moved() -> None:
    made = machine(1, log_retention_check_interval_ms="7000", log_retention_ms="5000")
    made.produce("t", 0, bytes(encode_batch([(made.now, b"k", b"v", ())])))
    opened = made.ask(session(0, 0, offset=1), 12)
    assert made.ask(session(opened.session_id, 1), 12).responses == ()
    made.wait(8000)
    (topic,) = made.ask(session(opened.session_id, 2), 12).responses
    assert topic.partitions[0].log_start_offset == 1


def session(session_id: int, epoch: int, offset: int | None = None) -> FetchRequest:
    """A Fetch in a session; of a partition where there is an offset."""
    asked = () if offset is None else (FetchPartition(partition=0, fetch_offset=offset),)
    return FetchRequest(
        max_bytes=1 << 20,
        session_id=session_id,
        session_epoch=epoch,
        topics=(FetchTopic(topic="t", partitions=asked),) if asked else (),
    )


def test_L6_records_are_readable_whose_log_start_moved_while_they_were_written() -> None:
    made = machine(1)
    made.produce("t", 0, bytes(encode_batch([(TIME, b"k", b"v", ())] * 3)))
    sent = made.post(produce("t", 0, bytes(encode_batch([(TIME, b"k", b"v", ())]))), 12)
    asked = (DeleteRecordsPartition(partition_index=0, offset=2),)
    topics = (DeleteRecordsTopic(name="t", partitions=asked),)
    made.post(DeleteRecordsRequest(timeout_ms=1000, topics=topics), 2)
    made.settle()
    (partition,) = made.answer(sent).responses[0].partition_responses
    (log,) = made.cores.logs.by_name.values()
    assert (partition.error_code, partition.base_offset) == (0, 3)
    assert (log.log_start, log.high_watermark, log.log_end) == (2, 4, 4)


def test_X4_deleting_records_writes_no_file_for_each_partition() -> None:
    made = machine(40)
    for at in range(40):
        made.produce("t", at, bytes(encode_batch([(TIME, b"k", b"v", ())] * 3)))
    before = made.storage.operations
    asked = tuple(DeleteRecordsPartition(partition_index=at, offset=2) for at in range(40))
    topics = (DeleteRecordsTopic(name="t", partitions=asked),)
    made.ask(DeleteRecordsRequest(timeout_ms=1000, topics=topics), 2)
    assert made.storage.operations - before < 10
    made.crash()
    assert [log.log_start for log in made.cores.logs.by_name.values()] == [2] * 40


def test_X4_what_one_request_deletes_goes_some_segments_at_a_time() -> None:
    made = Machine()
    config = CreatableTopicConfig(name="segment.ms", value="1")
    topic = CreatableTopic(name="t", num_partitions=2, replication_factor=1, configs=(config,))
    assert made.ask(CreateTopicsRequest(topics=(topic,)), 7).topics[0].error_code == 0
    for at in range(80):
        records = [(TIME + 10 * at, b"k", b"v", ())]
        made.produce("t", at % 2, bytes(encode_batch(records)))
    logs = [made.cores.logs.by_name[TopicPartition("t", at)] for at in range(2)]
    assert [len(log.segments) for log in logs] == [40, 40]
    asked = tuple(DeleteRecordsPartition(partition_index=at, offset=-1) for at in range(2))
    topics = (DeleteRecordsTopic(name="t", partitions=asked),)
    made.ask(DeleteRecordsRequest(timeout_ms=1000, topics=topics), 2)
    assert [(log.log_start, len(log.segments)) for log in logs] == [(40, 24), (40, 40)]
    for _ in range(2):
        assert made.cores.upkeep.deadline() == 0
        made.carry_out(made.node.handle(Tick(), made.now))
        made.settle()
    assert [len(log.segments) for log in logs] == [8, 24]
    made.crash()
    made.wait(FIRST_CHECK_MS)
    logs = [made.cores.logs.by_name[TopicPartition("t", at)] for at in range(2)]
    assert [(log.log_start, len(log.segments)) for log in logs] == [(40, 1), (40, 1)]


def test_D5_a_clean_start_finds_all_files_as_deleted_records_left_them() -> None:
    made = machine(1)
    made.produce("t", 0, bytes(encode_batch([(TIME, b"k", b"v", ())] * 3)))
    asked = (DeleteRecordsPartition(partition_index=0, offset=2),)
    topics = (DeleteRecordsTopic(name="t", partitions=asked),)
    made.ask(DeleteRecordsRequest(timeout_ms=1000, topics=topics), 2)
    made.stop()
    path = "t-0/leader-epoch-checkpoint"
    assert bytes(made.storage.read(path, 0, 100)) == b"0\n1\n0 2\n"
    made.open()
    assert made.cores.logs.by_name[TopicPartition("t", 0)].log_start == 2
