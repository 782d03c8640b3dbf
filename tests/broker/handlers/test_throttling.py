"""What quotas count, and what a client over one is told (KIP-13, KIP-219, KIP-599)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flowstream.broker.quotas import FETCH, LONGEST_THROTTLE_MS, MUTATE, PRODUCE, Bucket, Rate
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.broker.machine import Machine, Muting, batch, fetch, produce


@pytest.fixture
def machine() -> Muting:
    return Muting()


def limit(machine: Machine, **limits: float) -> None:
    ops = tuple(OpData(key=key, value=value) for key, value in limits.items())
    entity = (EntityData(entity_type="client-id", entity_name="client"),)
    request = AlterClientQuotasRequest(entries=(EntryData(entity=entity, ops=ops),))
    assert machine.ask(request, 1).entries[0].error_code == 0


def topics(*counts: tuple[str, int], **more: Any) -> CreateTopicsRequest:
    made = tuple(CreatableTopic(name=n, num_partitions=c, replication_factor=1) for n, c in counts)
    return CreateTopicsRequest(topics=made, **more)


def counted(machine: Machine, key: str) -> int:
    rate = machine.cores.quotas._rates.of((key, (None, "client")), machine.now)
    return rate._total


def test_whole_requests_and_answers_count(machine: Muting) -> None:
    machine.ask(topics(("t", 1)), 7)
    limit(machine, producer_byte_rate=1e6, consumer_byte_rate=1e6)
    sent = batch(b"x" * 100)
    machine.ask(produce("t", 0, sent), 9)
    assert len(sent) + 20 <= counted(machine, PRODUCE) < len(sent) + 100
    machine.ask(fetch("t", 0, 0), 11)
    assert len(sent) + 20 <= counted(machine, FETCH) < len(sent) + 100
    before = counted(machine, FETCH)
    machine.ask(fetch("t", 0, 1), 11)
    assert counted(machine, FETCH) > before, "an answer without records counts too"


def test_in_strict_versions_what_is_too_much_is_refused(machine: Muting) -> None:
    limit(machine, controller_mutation_rate=1.0)
    answer = machine.ask(topics(("a", 15), ("b", 1), ("c", 1)), 7)
    codes = {each.name: each.error_code for each in answer.topics}
    refused = ErrorCode.THROTTLING_QUOTA_EXCEEDED
    assert codes == {"a": 0, "b": refused, "c": refused}
    assert answer.throttle_time_ms == 4_000
    assert machine.muted == [4_000]
    assert set(machine.cores.image.topics) == {"a"}
    grown = CreatePartitionsTopic(name="a", count=16, assignments=None)
    answer = machine.ask(CreatePartitionsRequest(topics=(grown,), timeout_ms=1000), 3)
    assert answer.results[0].error_code == refused
    answer = machine.ask(DeleteTopicsRequest(topic_names=("a",), timeout_ms=1000), 5)
    assert answer.responses[0].error_code == refused
    machine.wait(4_000)
    answer = machine.ask(DeleteTopicsRequest(topic_names=("a",), timeout_ms=1000), 5)
    assert answer.responses[0].error_code == 0


def test_in_old_versions_it_is_done_and_the_client_waits(machine: Muting) -> None:
    limit(machine, controller_mutation_rate=1.0)
    answer = machine.ask(topics(("a", 15), ("b", 1)), 5)
    assert {each.error_code for each in answer.topics} == {0}
    assert answer.throttle_time_ms == 5_000
    grown = CreatePartitionsTopic(name="a", count=16, assignments=None)
    answer = machine.ask(CreatePartitionsRequest(topics=(grown,), timeout_ms=1000), 2)
    assert (answer.results[0].error_code, answer.throttle_time_ms) == (0, 6_000)
    answer = machine.ask(DeleteTopicsRequest(topic_names=("b",), timeout_ms=1000), 4)
    assert (answer.responses[0].error_code, answer.throttle_time_ms) == (0, 7_000)
    assert machine.muted == [5_000, 6_000, 7_000]


def test_a_topic_that_is_only_asked_about_counts_too(machine: Muting) -> None:
    limit(machine, controller_mutation_rate=1.0)
    machine.ask(topics(("a", 15)), 7)
    asked = MetadataRequest(topics=(MetadataRequestTopic(name="b"),))
    answer = machine.ask(asked, 12)
    assert answer.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert set(machine.cores.image.topics) == {"a"}
    machine.wait(4_000)
    assert machine.ask(asked, 12).topics[0].error_code == 0


def test_what_is_only_checked_or_refused_otherwise_does_not_count(machine: Muting) -> None:
    limit(machine, controller_mutation_rate=1.0)
    machine.ask(topics(("a", 100), validate_only=True), 7)
    machine.ask(topics(("a b", 100)), 7)
    machine.ask(DeleteTopicsRequest(topic_names=("absent",), timeout_ms=1000), 5)
    assert machine.ask(topics(("a", 1)), 7).topics[0].error_code == 0
    assert machine.muted == []


def test_who_has_no_quota_creates_what_it_likes(machine: Muting) -> None:
    assert machine.ask(topics(("a", 1000)), 7).topics[0].error_code == 0
    assert machine.ask(topics(("b", 1000)), 7).throttle_time_ms == 0


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.0, -1.0])
def test_X4_a_quota_that_is_no_number_is_refused(value: float) -> None:
    machine = Muting()
    entity = (EntityData(entity_type="client-id", entity_name="client"),)
    entry = EntryData(entity=entity, ops=(OpData(key=MUTATE, value=value),))
    answer = machine.ask(AlterClientQuotasRequest(entries=(entry,)), 1).entries[0]
    assert answer.error_code == ErrorCode.INVALID_REQUEST
    assert machine.ask(topics(("t", 1)), 7).topics[0].error_code == 0


def test_X4_a_time_to_wait_fits_its_answer() -> None:
    bucket, rate = Bucket(), Rate()
    bucket.excess_ms(1e-310, Instant(0))
    bucket.take(3_000)
    assert bucket.excess_ms(1e-310, Instant(1)) == LONGEST_THROTTLE_MS
    rate.record(3 << 20, Instant(0))
    assert 0 < rate.excess_ms(1e-3, Instant(1)) <= LONGEST_THROTTLE_MS
