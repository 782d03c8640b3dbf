"""Fetch sessions (KIP-227): what a reader is told, what it need not say again, and their end."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker import fetch_sessions
from flowstream.wire.batch import iter_batches
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
)
from tests.broker.machine import Machine, batch

PARTITIONS = 3


def machine(**settings: str) -> Machine:
    made = Machine(**settings)
    create(made, "t")
    return made


def create(made: Machine, name: str) -> None:
    wanted = CreatableTopic(name=name, num_partitions=PARTITIONS, replication_factor=1)
    assert made.ask(CreateTopicsRequest(topics=(wanted,)), 5).topics[0].error_code == 0


class Reader:
    """A client with one session over topic `t`: its places, and what it was told."""

    def __init__(self, made: Machine, version: int = 12, **more: Any) -> None:
        self.made, self.version = made, version
        self.more = {"max_wait_ms": 0, "max_bytes": 1 << 24, **more}
        self.session_id, self.epoch = 0, 0

    def topic(self, name: str = "t") -> dict[str, Any]:
        if self.version < 13:
            return {"topic": name}
        return {"topic_id": self.made.cores.image.topics[name].topic_id}

    def request(
        self, places: dict[int, int] | None = None, forget: tuple[int, ...] = (), **more: Any
    ) -> FetchRequest:
        partitions = tuple(
            FetchPartition(partition=number, fetch_offset=at, partition_max_bytes=1 << 20)
            for number, at in (places or {}).items()
        )
        gone = (ForgottenTopic(**self.topic(), partitions=forget),) if forget else ()
        return FetchRequest(
            **{**self.more, **more},
            session_id=self.session_id,
            session_epoch=self.epoch,
            topics=(FetchTopic(**self.topic(), partitions=partitions),) if partitions else (),
            forgotten_topics_data=gone,
        )

    def fetch(self, *args: Any, **more: Any) -> dict[int, tuple[int, int, int]]:
        """Number -> (error, high watermark, batches) of the partitions that were told."""
        return self.told(self.made.ask(self.request(*args, **more), self.version))

    def told(self, answer: Any) -> dict[int, tuple[int, int, int]]:
        assert answer.error_code == 0
        self.session_id, self.epoch = answer.session_id, self.epoch + 1
        return {
            each.partition_index: (
                each.error_code,
                each.high_watermark,
                sum(1 for _ in iter_batches(memoryview(each.records))),
            )
            for topic in answer.responses
            for each in topic.partitions
        }

    def error(self, **more: Any) -> int:
        answer = self.made.ask(self.request(**more), self.version)
        assert (answer.session_id, answer.responses) == (0, ())
        return int(answer.error_code)


EVERYWHERE = dict.fromkeys(range(PARTITIONS), 0)


@pytest.mark.parametrize("version", [7, 11, 12, 13, 18])
def test_only_what_changed_is_told(version: int) -> None:
    made = machine()
    reader = Reader(made, version)
    assert reader.fetch(EVERYWHERE) == dict.fromkeys(range(PARTITIONS), (0, 0, 0))
    assert reader.session_id > 0
    assert reader.fetch() == {}
    made.produce("t", 1, batch(b"x"))
    assert reader.fetch() == {1: (0, 1, 1)}
    assert reader.fetch() == {1: (0, 1, 1)}, "the place was not moved"
    assert reader.fetch({1: 1}) == {}
    assert reader.fetch({1: 0}) == {1: (0, 1, 1)}


def test_a_quiet_partition_is_not_looked_at() -> None:
    made = machine()
    reader = Reader(made)
    reader.fetch(EVERYWHERE)
    reader.fetch()
    (session,) = made.cores.fetch_sessions._by_id.values()
    assert (len(session.partitions), len(session.ready)) == (PARTITIONS, 0)
    made.produce("t", 2, batch(b"x"))
    assert list(session.ready) == [("t", bytes(16), 2)]


def test_partitions_are_added_and_forgotten() -> None:
    made = machine()
    reader = Reader(made)
    assert list(reader.fetch({0: 0})) == [0]
    assert list(reader.fetch({1: 0})) == [1]
    assert reader.fetch(forget=(0, 2)) == {}
    made.produce("t", 0, batch(b"x"))
    made.produce("t", 1, batch(b"x"))
    assert reader.fetch() == {1: (0, 1, 1)}
    assert made.cores.fetch_sessions.partitions == 1


def test_a_session_that_forgets_everything_ends() -> None:
    made = machine()
    reader = Reader(made)
    reader.fetch({0: 0})
    assert reader.fetch(forget=(0,)) == {}
    assert reader.session_id == 0
    assert (len(made.cores.fetch_sessions), made.cores.fetch_sessions.partitions) == (0, 0)
    assert not made.cores.waiting._watchers


def test_the_log_start_is_told_when_records_are_deleted() -> None:
    made = machine()
    made.produce("t", 0, batch(b"x", b"y"))
    reader = Reader(made)
    reader.fetch({0: 3})
    reader = Reader(made)
    reader.fetch({0: 2})
    assert reader.fetch() == {}
    place = DeleteRecordsPartition(partition_index=0, offset=1)
    topic = DeleteRecordsTopic(name="t", partitions=(place,))
    made.ask(DeleteRecordsRequest(topics=(topic,), timeout_ms=1000), 2)
    answer = made.ask(reader.request(), 12)
    assert answer.responses[0].partitions[0].log_start_offset == 1


def test_an_error_is_told_again_and_again_and_so_is_its_end() -> None:
    made = machine()
    reader = Reader(made)
    assert reader.fetch({0: 5, 1: 0})[0][0] == ErrorCode.OFFSET_OUT_OF_RANGE
    for _ in range(2):
        assert reader.fetch() == {0: (ErrorCode.OFFSET_OUT_OF_RANGE, -1, 0)}
    assert reader.fetch({0: 0}) == {0: (0, 0, 0)}, "the watermarks are told again"
    assert reader.fetch() == {}


@pytest.mark.parametrize(
    ("version", "error"),
    [(12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (13, ErrorCode.UNKNOWN_TOPIC_ID)],
)
def test_a_deleted_topic_is_told(version: int, error: int) -> None:
    made = machine()
    reader = Reader(made, version)
    reader.fetch(EVERYWHERE)
    assert reader.fetch() == {}
    made.ask(DeleteTopicsRequest(topic_names=("t",), timeout_ms=1000), 5)
    assert reader.fetch() == dict.fromkeys(range(PARTITIONS), (error, -1, 0))
    create(made, "t")
    made.produce("t", 0, batch(b"x"))
    again = dict.fromkeys(range(PARTITIONS), (0, 0, 0)) | {0: (0, 1, 1)}
    assert reader.fetch() == (again if version < 13 else dict.fromkeys(EVERYWHERE, (error, -1, 0)))


def test_an_unknown_partition_of_a_known_id() -> None:
    reader = Reader(machine(), 13)
    assert reader.fetch({9: 0}) == {9: (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, 0)}


@pytest.mark.parametrize(
    ("version", "error"),
    [(12, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), (13, ErrorCode.UNKNOWN_TOPIC_ID)],
)
@pytest.mark.parametrize("epoch", [0, -1])
def test_a_topic_without_name_and_id(version: int, error: int, epoch: int) -> None:
    made = machine()
    reader = Reader(made, version)
    place = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=100)
    topic = FetchTopic(topic="", topic_id=bytes(16), partitions=(place,))
    request = FetchRequest(session_epoch=epoch, max_wait_ms=0, topics=(topic,))
    assert reader.told(made.ask(request, version)) == {0: (error, -1, 0)}


def test_whoever_gave_records_is_read_last_next_time() -> None:
    made = machine()
    for number in range(PARTITIONS):
        for _ in range(2):
            made.produce("t", number, batch(b"x" * 1000))
    reader = Reader(made, max_bytes=10)
    places = dict(EVERYWHERE)
    served = []
    for _ in range(6):
        found = reader.fetch(places if reader.epoch == 0 else None)
        (number,) = [number for number, (_, _, batches) in found.items() if batches]
        served.append(number)
    assert sorted(served[1:4]) == [0, 1, 2]
    assert served[1:4] == [0, 1, 2]
    assert served[4:] == [0, 1]


def test_what_did_not_fit_is_read_next_time() -> None:
    made = machine()
    made.produce("t", 0, batch(b"x" * 1000))
    made.produce("t", 1, batch(b"y" * 5000))
    reader = Reader(made, max_bytes=2000)
    reader.fetch(EVERYWHERE)
    reader.fetch({0: 1})
    assert reader.fetch()[1] == (0, 1, 1)


def test_read_committed_readers_are_told_when_a_transaction_ends() -> None:
    made = machine()
    reader = Reader(made, isolation_level=1)
    got = made.init()
    pid, epoch = got.producer_id, got.producer_epoch
    made.produce("t", 0, batch(b"x", pid=pid, epoch=epoch, sequence=0), name="t")
    assert reader.fetch({0: 0})[0] == (0, 1, 0)
    assert reader.fetch() == {}
    assert reader.fetch(isolation_level=0) == {0: (0, 1, 1)}
    assert reader.fetch(isolation_level=1) == {}
    made.end(pid, epoch)
    assert reader.fetch() == {0: (0, 2, 2)}


# ---- waiting


def test_a_waiting_request_is_answered_when_one_of_its_partitions_moves() -> None:
    made = machine()
    reader = Reader(made, min_bytes=1)
    reader.fetch(EVERYWHERE)
    asked = made.post(reader.request(max_wait_ms=1000), 12)
    assert asked not in made.replies
    made.produce("t", 2, batch(b"x"))
    assert reader.told(made.answer(asked)) == {2: (0, 1, 1)}
    made.produce("t", 1, batch(b"x"))
    assert reader.fetch({2: 1}) == {1: (0, 1, 1)}


def test_a_waiting_request_is_answered_with_nothing_at_its_deadline() -> None:
    made = machine()
    reader = Reader(made, min_bytes=1)
    reader.fetch(EVERYWHERE)
    asked = made.post(reader.request(max_wait_ms=1000), 12)
    made.wait(999)
    assert asked not in made.replies
    made.wait(1)
    assert reader.told(made.answer(asked)) == {}


def test_a_session_opens_with_the_answer_that_was_waited_for() -> None:
    made = machine()
    reader = Reader(made, min_bytes=1)
    asked = made.post(reader.request(EVERYWHERE, max_wait_ms=1000), 12)
    assert len(made.cores.fetch_sessions) == 0
    made.produce("t", 0, batch(b"x"))
    assert reader.told(made.answer(asked))[0] == (0, 1, 1)
    assert len(made.cores.fetch_sessions) == 1


def test_a_request_whose_session_went_on_is_told_so() -> None:
    made = machine()
    reader = Reader(made, min_bytes=1)
    reader.fetch(EVERYWHERE)
    old = made.post(reader.request(max_wait_ms=1000), 12)
    reader.epoch += 1
    new = made.post(reader.request(max_wait_ms=2000), 12)
    made.wait(1000)
    assert made.answer(old).error_code == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    made.produce("t", 0, batch(b"x"))
    assert reader.told(made.answer(new)) == {0: (0, 1, 1)}


# ---- ids, epochs, room


def test_ids_and_epochs_are_checked() -> None:
    made = machine()
    reader = Reader(made)
    reader.fetch(EVERYWHERE)
    reader.epoch = 2
    assert reader.error() == ErrorCode.INVALID_FETCH_SESSION_EPOCH
    reader.epoch, reader.version = 1, 13
    assert reader.error() == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
    reader.version = 12
    assert reader.fetch() == {}, "a refused request changes nothing"
    reader.session_id += 1
    assert reader.error() == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    reader.session_id, reader.epoch = 0, 1
    assert reader.error() == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


@pytest.mark.parametrize(("epoch", "left"), [(0, 1), (-1, 0)])
def test_a_full_fetch_ends_the_session_it_names(epoch: int, left: int) -> None:
    made = machine()
    reader = Reader(made)
    reader.fetch(EVERYWHERE)
    before, reader.epoch = reader.session_id, epoch
    assert len(reader.fetch(EVERYWHERE)) == PARTITIONS
    assert reader.session_id != before
    assert len(made.cores.fetch_sessions) == left


def test_epochs_begin_again_after_the_last_one() -> None:
    made = machine()
    reader = Reader(made)
    reader.fetch(EVERYWHERE)
    (session,) = made.cores.fetch_sessions._by_id.values()
    session.epoch = reader.epoch = 2**31 - 1
    reader.fetch()
    assert session.epoch == 1


def test_sessions_do_not_outlive_the_node() -> None:
    made = machine()
    reader = Reader(made)
    reader.fetch(EVERYWHERE)
    made.crash()
    assert reader.error() == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def opened(made: Machine, partitions: int) -> Reader:
    reader = Reader(made)
    reader.fetch(dict.fromkeys(range(partitions), 0))
    return reader


def test_X3_a_full_cache_declines_sessions() -> None:
    made = machine(max_incremental_fetch_session_cache_slots="1")
    first = opened(made, 1)
    assert first.session_id
    assert opened(made, 3).session_id == 0
    assert first.fetch() == {}


def test_X3_a_session_unused_for_long_makes_room() -> None:
    made = machine(max_incremental_fetch_session_cache_slots="2")
    old, used = opened(made, 3), opened(made, 1)
    made.wait(fetch_sessions.EVICTION_MS)
    used.fetch()
    assert opened(made, 1).session_id == 0
    made.wait(1)
    assert opened(made, 1).session_id
    assert old.error() == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert used.fetch() == {}


def test_X3_a_larger_session_takes_the_place_of_a_smaller_one_that_is_not_new() -> None:
    made = machine(max_incremental_fetch_session_cache_slots="2")
    small, large = opened(made, 1), opened(made, 3)
    made.wait(fetch_sessions.EVICTION_MS + 1)
    small.fetch()
    large.fetch()
    assert opened(made, 1).session_id == 0
    assert opened(made, 2).session_id
    assert small.error() == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    assert large.fetch() == {}


def test_X3_no_slots_no_sessions() -> None:
    assert opened(machine(max_incremental_fetch_session_cache_slots="0"), 1).session_id == 0


def test_X3_partitions_of_all_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "PARTITIONS", 4)
    made = machine()
    first = opened(made, 3)
    assert opened(made, 2).session_id == 0
    second = opened(made, 1)
    assert second.session_id
    assert set(second.fetch({1: 0, 2: 0})) == {1, 2}, "answered, as the last one"
    assert second.session_id == 0
    assert made.cores.fetch_sessions.partitions == 3
    assert first.fetch() == {}
