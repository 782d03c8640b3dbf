"""Retention, compaction and deletion as the node does them, tick by tick, also across crashes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.decision import Decision
from flowstream.broker.doors import MakeDirectory, Replace
from flowstream.broker.effects import Notice
from flowstream.broker.events import Tick
from flowstream.broker.log import checkpoints
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.upkeep import Upkeep
from flowstream.broker.metadata.records import ConfigRecord
from flowstream.broker.storage.memory import Crashed
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import decode_records, encode_batch, read_header
from flowstream.wire.batch_header import HEADER_SIZE, seal
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
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.offset_fetch import OffsetFetchRequest
from tests.broker.machine import TIME, Machine

TOPIC = TopicPartition("t", 0)


def machine(**settings: str) -> Machine:
    return Machine(**{"log_cleaner_backoff_ms": "1000", **settings})


def create(made: Machine, **configs: str) -> PartitionLog:
    given = tuple(
        CreatableTopicConfig(name=key.replace("_", "."), value=value)
        for key, value in configs.items()
    )
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1, configs=given)
    assert made.ask(CreateTopicsRequest(topics=(topic,)), 7).topics[0].error_code == 0
    return made.cores.logs.by_name[TOPIC]


def compacted(made: Machine, **configs: str) -> PartitionLog:
    return create(made, cleanup_policy="compact", segment_ms="1000", **configs)


def send(made: Machine, key: str | None, value: bytes | None) -> None:
    """One record, two seconds after the one before: each closes the segment before it."""
    made.now = Instant(made.now + 2000)
    record = (made.now, None if key is None else key.encode(), value, ())
    assert made.produce("t", 0, bytes(encode_batch([record]))).error_code == 0


def alter(made: Machine, name: str, value: str) -> None:
    record = ConfigRecord(resource_type=2, resource_name="t", name=name, value=value)
    made.carry_out(commit_metadata(made.cores, Decision(records=(record,)), made.now))
    made.settle()


def offsets(log: PartitionLog) -> list[int]:
    return [record.offset for batch in log.scan() for record in decode_records(batch)]


def fill(made: Machine, count: int = 12) -> None:
    for number in range(count):
        send(made, f"k{number % 3}", b"v%d" % number)


def test_L7_a_dirty_log_is_compacted_by_and_by() -> None:
    made = machine()
    log = compacted(made)
    fill(made)
    made.wait(5_000)
    assert offsets(log) == [8, 9, 10, 11]
    assert log.clean_end == 11
    path = checkpoints.CLEANER
    text = made.storage.read(path, 0, made.storage.size(path) or 0)
    assert checkpoints.decode_offsets(text, path) == {TOPIC: 11}
    made.crash()
    assert offsets(made.cores.logs.by_name[TOPIC]) == [8, 9, 10, 11]
    assert made.cores.logs.by_name[TOPIC].clean_end == 11
    assert made.read("t") == [b"v8", b"v9", b"v10", b"v11"]


def test_compaction_waits_for_enough_dirt_for_the_lag_and_for_being_switched_on() -> None:
    made = machine()
    log = compacted(made, min_cleanable_dirty_ratio="0.9")
    fill(made)
    made.wait(3_000)
    assert log.clean_end == 11
    fill(made, 3)
    made.wait(3_000)
    assert log.clean_end == 11, "a fifth of it is dirty"
    made = machine()
    log = compacted(made, min_compaction_lag_ms="6000", min_cleanable_dirty_ratio="0.01")
    fill(made)
    made.wait(1_500)
    assert offsets(log) == [6, 7, 8, 9, 10, 11], "the newest three are younger than the lag"
    made = machine(log_cleaner_enable="false")
    log = compacted(made)
    fill(made)
    made.wait(60_000)
    assert len(offsets(log)) == 12


def test_X3_the_lag_does_not_wait_for_times_that_a_clock_gave_before_it_was_set_back() -> None:
    made = machine()
    log = compacted(made, min_compaction_lag_ms="100000", min_cleanable_dirty_ratio="0.01")
    fill(made)
    made.now = Instant(made.now - 10**10)
    made.crash()
    log = made.cores.logs.by_name[TOPIC]
    made.wait(99_000)
    assert len(offsets(log)) == 12
    made.wait(3_000)
    assert offsets(log) == [8, 9, 10, 11]


def test_KIP354_what_is_overdue_is_compacted_however_clean_the_log_is() -> None:
    made = machine()
    log = compacted(made, min_cleanable_dirty_ratio="1.0", max_compaction_lag_ms="20000")
    fill(made)
    assert len(offsets(log)) == 12
    made.wait(20_000)
    assert offsets(log) == [8, 9, 10, 11]


def test_a_tombstone_outlives_the_value_for_delete_retention_ms() -> None:
    made = machine()
    log = compacted(made, min_cleanable_dirty_ratio="0.01", delete_retention_ms="30000")
    send(made, "a", b"1")
    send(made, "a", None)
    send(made, "b", b"2")
    made.wait(2_000)
    assert offsets(log) == [1, 2]
    made.wait(60_000)
    send(made, "b", b"3")
    send(made, "b", b"4")
    made.wait(2_000)
    assert offsets(log) == [3, 4]


def test_D5_gaps_stay_readable_when_the_policy_changes_whatever_crashes() -> None:
    made = machine()
    compacted(made)
    fill(made)
    made.wait(5_000)
    alter(made, "cleanup.policy", "delete")
    alter(made, "retention.ms", "-1")
    for _ in range(3):
        made.crash()
        assert offsets(made.cores.logs.by_name[TOPIC]) == [8, 9, 10, 11]
        assert made.read("t") == [b"v8", b"v9", b"v10", b"v11"]


def test_records_without_a_key_go_and_lying_bodies_stay_and_both_are_told() -> None:
    made = machine()
    log = create(made, cleanup_policy="delete", segment_ms="1000")
    send(made, None, b"keyless")
    send(made, "a", b"old")
    lie = encode_batch([(made.now, b"a", b"lie", ())])
    lie[HEADER_SIZE] = 0x7F
    seal(lie, 0, len(lie))
    assert made.produce("t", 0, bytes(lie)).error_code == 0
    send(made, "a", b"new")
    send(made, "b", b"active")
    alter(made, "cleanup.policy", "compact")
    said = []
    for _ in range(20):
        made.now = Instant(made.now + 500)
        effects = made.node.handle(Tick(), made.now)
        said += [effect.text for effect in effects if isinstance(effect, Notice)]
        made.carry_out(effects)
        made.settle()
    assert [read_header(batch).base_offset for batch in log.scan()] == [2, 3, 4]
    assert len(said) == 2
    assert "1 records that have no key" in said[0]
    assert "1 batches whose records cannot be read" in said[1]


def test_D6_a_log_with_bad_bytes_is_left_alone_and_that_is_told() -> None:
    made = machine()
    compacted(made)
    fill(made, 6)
    made.stop()
    made.open()
    log = made.cores.logs.by_name[TOPIC]
    made.storage.flip(log.segments[1].path, 70)
    said = []
    for _ in range(20):
        made.now = Instant(made.now + 500)
        effects = made.node.handle(Tick(), made.now)
        said += [effect.text for effect in effects if isinstance(effect, Notice)]
        made.carry_out(effects)
        made.settle()
    assert len(said) == 1
    assert log.segments[1].path in said[0]
    assert len(log.segments) == 6
    assert made.cores.upkeep.uncleanable == 1
    assert not [name for name in made.storage.names("t-0") if name.endswith(".cleaned")]


def test_segments_that_retention_takes_meanwhile_end_the_cleaning() -> None:
    made = machine()
    log = create(made, cleanup_policy="compact,delete", segment_ms="1000", retention_ms="-1")
    fill(made)
    for asked in range(1, 10):
        made.now = Instant(made.now + 1000)
        made.carry_out(made.node.handle(Tick(), made.now))
        part = DeleteRecordsPartition(partition_index=0, offset=asked)
        topic = DeleteRecordsTopic(name="t", partitions=(part,))
        made.ask(DeleteRecordsRequest(topics=(topic,), timeout_ms=1000), 2)
        assert log.log_start == asked
    made.wait(10_000)
    assert offsets(log) == [9, 10, 11]
    assert not [name for name in made.storage.names("t-0") if name.endswith(".cleaned")]
    made.crash()
    assert made.cores.logs.by_name[TOPIC].log_start == 9


def test_a_topic_may_be_deleted_while_it_is_compacted() -> None:
    made = machine()
    compacted(made)
    fill(made)
    for _ in range(3):
        made.now = Instant(made.now + 1000)
        made.carry_out(made.node.handle(Tick(), made.now))
    made.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),)), 6)
    made.wait(5_000)
    assert not made.storage.names("t-0")


def test_retention_follows_a_changed_setting_at_the_next_check() -> None:
    made = machine(log_retention_check_interval_ms="7000")
    log = create(made, segment_ms="1000", retention_ms="-1")
    fill(made)
    made.wait(60_000)
    assert len(log.segments) == 12
    alter(made, "retention.ms", "30000")
    made.wait(1)
    assert len(log.segments) == 12
    made.wait(7_000)
    assert offsets(log) == []
    assert log.log_start == log.log_end == 12


def test_retention_with_both_policies_and_by_bytes() -> None:
    made = machine(log_retention_check_interval_ms="1000")
    log = create(
        made, cleanup_policy="compact,delete", segment_ms="1000", retention_ms="20000",
        min_cleanable_dirty_ratio="1.0",
    )  # fmt: skip
    fill(made, 6)
    made.wait(12_000)
    assert log.log_start > 0
    made = machine(log_retention_check_interval_ms="1000")
    log = create(made, segment_ms="1000", retention_bytes="0")
    fill(made, 6)
    made.wait(40_000)
    assert (log.log_start, offsets(log)) == (6, [])


def test_L7_committed_offsets_survive_the_compaction_of_their_topic() -> None:
    made = machine(log_roll_ms="1000", offsets_topic_num_partitions="1")
    create(made)

    def commit(offset: int) -> None:
        made.now = Instant(made.now + 2000)
        part = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
        topic = OffsetCommitRequestTopic(name="t", partitions=(part,))
        asked = OffsetCommitRequest(group_id="g", topics=(topic,))
        assert made.ask(asked, 7).topics[0].partitions[0].error_code == 0

    for offset in range(12):
        commit(offset)
    made.wait(5_000)
    log = made.cores.logs.by_name[TopicPartition("__consumer_offsets", 0)]
    assert len(offsets(log)) <= 3
    made.crash()
    asked = OffsetFetchRequest(group_id="g", topics=None)
    (topic,) = made.ask(asked, 7).topics
    assert [each.committed_offset for each in topic.partitions] == [11]


def deleting() -> Machine:
    made = machine()
    create(made)
    fill(made, 4)
    return made


def test_D5_a_topic_deletion_survives_a_crash_at_every_operation() -> None:
    made = deleting()
    first = made.storage.operations
    asked = DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),))
    made.ask(asked, 6)
    total = made.storage.operations
    assert total - first >= 4
    outcomes = set()
    for operation in range(first, total):
        made = deleting()
        made.storage.crash_at(operation)
        with pytest.raises(Crashed):
            made.ask(asked, 6)
        made.crash()
        if "t" in made.cores.image.topics:
            assert len(made.read("t")) == 4, "half a topic"
        else:
            assert not [name for name in made.storage.names("") if name.startswith("t-")]
            assert not [name for name in made.storage.names("") if name.endswith("-delete")]
        outcomes.add("t" in made.cores.image.topics)
    assert outcomes == {True, False}


def test_D5_what_comes_back_of_an_earlier_deletion_is_no_obstacle_to_the_next_one() -> None:
    made = deleting()
    files = {path: bytes(file.data) for path, file in made.storage._files.items() if "/" in path}
    made.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),)), 6)
    # A crash after the deletion is durable and before the directory is gone, for the second time.
    for path, data in files.items():
        directory, name = path.split("/")
        if directory == "t-0":
            for again in ("t-0", "t-0-delete"):
                made.storage.perform([MakeDirectory(again), Replace(f"{again}/{name}", data)])
    made.crash()
    assert not [name for name in made.storage.names("") if name.startswith("t-")]


class Counting(dict[TopicPartition, PartitionLog]):
    """Counts how often somebody goes through all logs."""

    walks = 0

    def values(self) -> Iterator[PartitionLog]:  # type: ignore[override]
        self.walks += 1
        return iter(super().values())


def test_X3_a_tick_goes_through_the_logs_only_when_something_is_due() -> None:
    made = machine(log_retention_check_interval_ms="60000", log_cleaner_backoff_ms="15000")
    log = create(made)
    logs = Counting({TopicPartition("t", at): log for at in range(500)})
    upkeep = Upkeep(logs, fsync=True)
    upkeep.start(made.config, Instant(TIME))
    for at in range(0, 10_000, 10):
        assert upkeep.tick(made.config, Instant(TIME + at)) == []
    assert logs.walks == 0
    assert upkeep.deadline() == TIME + 15_000
    upkeep.tick(made.config, Instant(TIME + 15_000))
    upkeep.tick(made.config, Instant(TIME + 30_000))
    assert logs.walks == 3
    assert upkeep.deadline() == 0, "the round of retention goes on at once, a few logs at a time"
