"""A reader with a session sees what one without sees: whatever happens to the partitions, in
whatever order (KIP-227)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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

TOPICS = ("a", "b")
PARTITIONS = 3
Place = tuple[str, int]
View = dict[Place, tuple[int, int, int, bytes]]
"""Error, high watermark, log start, records."""

PLACES = st.tuples(st.sampled_from(TOPICS), st.integers(0, PARTITIONS - 1))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("produce"), PLACES),
        st.tuples(st.just("read"), PLACES),
        st.tuples(st.just("seek"), st.tuples(PLACES, st.integers(0, 4))),
        st.tuples(st.just("forget"), PLACES),
        st.tuples(st.just("delete"), PLACES),
        st.tuples(st.just("drop"), st.sampled_from(TOPICS)),
        st.tuples(st.just("create"), st.sampled_from(TOPICS)),
        st.tuples(st.just("open"), PLACES),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("isolate"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.none()),
    ),
    max_size=40,
)


class Twins:
    """The same reader twice: one with a session, one that always says and hears everything."""

    def __init__(self) -> None:
        self.made = Machine()
        self.sequences: dict[Place, int] = {}
        self.isolation = 0
        self.places: dict[Place, int] = {}
        self.changed: set[Place] = set()
        self.gone: set[Place] = set()
        self.seen: View = {}
        self.session_id, self.epoch = 0, 0
        for topic in TOPICS:
            self.create(topic)
        owner = self.made.init()
        self.owner = owner.producer_id, owner.producer_epoch

    # ---- what happens to the partitions

    def create(self, topic: str) -> None:
        wanted = CreatableTopic(name=topic, num_partitions=PARTITIONS, replication_factor=1)
        self.made.ask(CreateTopicsRequest(topics=(wanted,)), 5)

    def drop(self, topic: str) -> None:
        self.made.ask(DeleteTopicsRequest(topic_names=(topic,), timeout_ms=1000), 5)

    def produce(self, place: Place) -> None:
        self.made.produce(*place, batch(b"x"))

    def delete(self, place: Place) -> None:
        asked = DeleteRecordsPartition(partition_index=place[1], offset=-1)
        topic = DeleteRecordsTopic(name=place[0], partitions=(asked,))
        self.made.ask(DeleteRecordsRequest(topics=(topic,), timeout_ms=1000), 2)

    def open(self, place: Place) -> None:
        pid, epoch = self.owner
        sequence = self.sequences.get(place, 0)
        sent = batch(b"y", pid=pid, epoch=epoch, sequence=sequence)
        if self.made.produce(*place, sent, name="t").error_code == 0:
            self.sequences[place] = sequence + 1

    def end(self, commit: bool) -> None:
        answer = self.made.end(*self.owner, commit=commit)
        if answer.error_code == 0:
            self.owner, self.sequences = (answer.producer_id, answer.producer_epoch), {}

    # ---- what the readers do

    def read(self, place: Place) -> None:
        self.seek((place, 0))

    def seek(self, wanted: tuple[Place, int]) -> None:
        self.places[wanted[0]] = wanted[1]
        self.changed.add(wanted[0])
        self.gone.discard(wanted[0])

    def forget(self, place: Place) -> None:
        if self.places.pop(place, None) is not None:
            self.gone.add(place)
            self.changed.discard(place)

    def isolate(self, level: int) -> None:
        self.isolation = level

    def wait(self, _: None) -> None:
        self.made.wait(1_000)

    def topics(self, places: set[Place]) -> tuple[FetchTopic, ...]:
        return tuple(
            FetchTopic(
                topic=topic,
                partitions=(
                    FetchPartition(
                        partition=number,
                        fetch_offset=self.places[topic, number],
                        partition_max_bytes=1 << 20,
                    ),
                ),
            )
            for topic, number in sorted(places)
        )

    def ask(self, **more: Any) -> View:
        request = FetchRequest(
            **more, max_wait_ms=0, min_bytes=0, max_bytes=1 << 24, isolation_level=self.isolation
        )
        answer = self.made.ask(request, 12)
        assert answer.error_code == 0
        self.answered = answer.session_id
        return {
            (topic.topic, each.partition_index): (
                each.error_code,
                each.high_watermark,
                each.log_start_offset,
                bytes(each.records),
            )
            for topic in answer.responses
            for each in topic.partitions
        }

    def compare(self) -> None:
        """Fetch once with the session: what it was told, all in all, is what the other one sees."""
        told = self.ask(
            session_id=self.session_id,
            session_epoch=self.epoch,
            topics=self.topics(self.changed if self.session_id else set(self.places)),
            forgotten_topics_data=tuple(
                ForgottenTopic(topic=topic, partitions=(number,))
                for topic, number in sorted(self.gone if self.session_id else set())
            ),
        )
        self.session_id = self.answered
        self.epoch = self.epoch + 1 if self.session_id else 0
        self.changed, self.gone = set(), set()
        silent = {place: (*seen[:3], b"") for place, seen in self.seen.items()}
        self.seen = {place: seen for place, seen in (silent | told).items() if place in self.places}
        assert self.seen == self.ask(topics=self.topics(set(self.places)))

    def check_watches(self) -> None:
        """What is not looked at is watched, nothing else is, and the partitions are counted."""
        cores = self.made.cores
        sessions = cores.fetch_sessions._by_id.values()
        watches = {
            (partition.watched, session.id, key)
            for session in sessions
            for key, partition in session.partitions.items()
            if partition.watched is not None
        }
        assert watches == {
            (name, watcher.id, key)  # type: ignore[attr-defined]
            for name, watchers in cores.waiting._watchers.items()
            for watcher, key in watchers
        }
        quiet = {
            (session.id, key)
            for session in sessions
            for key in session.partitions
            if key not in session.ready
        }
        assert quiet <= {watch[1:] for watch in watches}
        assert cores.fetch_sessions.partitions == sum(len(each.partitions) for each in sessions)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_L1_a_session_shows_what_a_reader_without_one_sees(steps: list[tuple[str, Any]]) -> None:
    twins = Twins()
    for name, argument in steps:
        getattr(twins, name)(argument)
        twins.compare()
        twins.check_watches()


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_L1_a_session_shows_it_in_many_stories(steps: list[tuple[str, Any]]) -> None:
    twins = Twins()
    for name, argument in steps:
        getattr(twins, name)(argument)
        twins.compare()
        twins.check_watches()
