"""What Apache Kafka answered its own tools is understood; what we ask is what they asked."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.configs import (
    Kind,
    Resource,
    alter_configs,
    alter_quotas,
    config_resources,
    describe_configs,
    describe_quotas,
)
from flowstream.transport.errors import RequestRefused, TransportError
from flowstream.transport.nodes import describe_nodes, describe_quorum, features, log_dirs
from flowstream.transport.partitions import create_partitions, delete_records, offsets_at
from flowstream.transport.transaction_admin import (
    ActiveProducer,
    Described,
    Open,
    abort_partition,
    describe_producers,
    describe_transaction,
    fence,
    find_hanging,
    is_hanging,
    list_transactions,
)
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey, response_class
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import Request
from flowstream.wire.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsResponse,
)
from flowstream.wire.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesResponse,
)
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsTopicResponse,
)
from tests.broker.golden import frames
from tests.transport.fake_broker import FakeBroker

TX = TopicPartition("tx", 0)
TOPICS = {"tx": 2, "rolled": 1}


class TellingBroker(FakeBroker):
    """Answers the APIs of administrators with what it is given, in order; the last one stays."""

    def __init__(self) -> None:
        super().__init__(TOPICS)
        self._told: dict[ApiKey, list[Any]] = {}

    def tell(self, key: ApiKey, *answers: Any) -> None:
        self._told[key] = list(answers)

    def tell_golden(self, key: ApiKey, at: int = 0) -> Any:
        """Answer as Kafka did to its recorded request number `at`; that request."""
        _, request, answer = list(frames(key))[at]
        self.tell(key, answer)
        return request

    def _answer(self, request: Request) -> object:
        told = self._told.get(ApiKey(request.key))
        if told is None:
            return super()._answer(request)
        self.requests.append(request)
        return told.pop(0) if len(told) > 1 else told[0]


@asynccontextmanager
async def asked() -> AsyncIterator[tuple[TellingBroker, Cluster]]:
    async with TellingBroker() as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        try:
            yield broker, cluster
        finally:
            await cluster.close()


async def test_configs_with_their_sources() -> None:
    async with asked() as (broker, cluster):
        broker.tell_golden(ApiKey.DESCRIBE_CONFIGS, 1)
        _, _, answer = list(frames(ApiKey.DESCRIBE_CONFIGS))[1]
        (result, *others) = answer.results
        assert others == []
        resource = Resource(Kind(result.resource_type), result.resource_name)
        found = await describe_configs(cluster, resource)
        assert {each.name: each.value for each in found} == {
            each.name: each.value for each in result.configs
        }
        assert {each.source for each in found} <= {"topic", "default", "broker (static)"} | {
            "all brokers (dynamic)",
            "broker (dynamic)",
        }
        (asked_for,) = broker.seen(ApiKey.DESCRIBE_CONFIGS)
        assert asked_for.resources[0].resource_name == result.resource_name


async def test_configs_are_altered_one_by_one_as_kafkas_tool_does() -> None:
    async with asked() as (broker, cluster):
        request = broker.tell_golden(ApiKey.INCREMENTAL_ALTER_CONFIGS)
        await alter_configs(cluster, Resource(Kind.TOPIC, "odd"), {"retention.ms": "999999999"})
        assert broker.seen(ApiKey.INCREMENTAL_ALTER_CONFIGS) == [request]
        await alter_configs(
            cluster, Resource(Kind.TOPIC, "odd"), {"retention.ms": None}, validate_only=True
        )
        last = broker.seen(ApiKey.INCREMENTAL_ALTER_CONFIGS)[-1]
        config = last.resources[0].configs[0]
        assert (config.config_operation, config.value, last.validate_only) == (1, None, True)
        refused = AlterConfigsResourceResponse(
            error_code=ErrorCode.INVALID_CONFIG,
            error_message="no such setting",
            resource_type=2,
            resource_name="odd",
        )
        answer = IncrementalAlterConfigsResponse(responses=(refused,))
        broker.tell(ApiKey.INCREMENTAL_ALTER_CONFIGS, answer)
        with pytest.raises(RequestRefused, match=r"INVALID_CONFIG \(no such setting\)"):
            await alter_configs(cluster, Resource(Kind.TOPIC, "odd"), {"x": "1"})


async def test_resources_of_unknown_kinds_are_left_out() -> None:
    async with asked() as (broker, cluster):
        resources = (
            ConfigResource(resource_name="t", resource_type=2),
            ConfigResource(resource_name="odd", resource_type=99),
            ConfigResource(resource_name="g", resource_type=32),
        )
        told = ListConfigResourcesResponse(config_resources=resources)
        broker.tell(ApiKey.LIST_CONFIG_RESOURCES, told)
        found = await config_resources(cluster, [Kind.TOPIC, Kind.GROUP])
        assert found == [Resource(Kind.TOPIC, "t"), Resource(Kind.GROUP, "g")]
        assert broker.seen(ApiKey.LIST_CONFIG_RESOURCES)[0].resource_types == (2, 32)


async def test_quotas_as_kafkas_tool_sets_and_reads_them() -> None:
    async with asked() as (broker, cluster):
        request = broker.tell_golden(ApiKey.ALTER_CLIENT_QUOTAS)
        await alter_quotas(cluster, {"client-id": "c1"}, {"producer_byte_rate": 1e6})
        assert broker.seen(ApiKey.ALTER_CLIENT_QUOTAS) == [request]
        request = broker.tell_golden(ApiKey.DESCRIBE_CLIENT_QUOTAS)
        assert await describe_quotas(cluster, {"client-id": "c1"}) == []
        assert broker.seen(ApiKey.DESCRIBE_CLIENT_QUOTAS) == [request]
        full = [answer for _, _, answer in frames(ApiKey.DESCRIBE_CLIENT_QUOTAS) if answer.entries]
        broker.tell(ApiKey.DESCRIBE_CLIENT_QUOTAS, full[0])
        assert await describe_quotas(cluster) == [
            ({"client-id": "c1"}, {"producer_byte_rate": 1000000.0})
        ]


async def test_partitions_and_records() -> None:
    async with asked() as (broker, cluster):
        broker.tell_golden(ApiKey.CREATE_PARTITIONS)
        await create_partitions(cluster, "plain", 4)
        (request,) = broker.seen(ApiKey.CREATE_PARTITIONS)
        assert (request.topics[0].name, request.topics[0].count) == ("plain", 4)
        golden = broker.tell_golden(ApiKey.DELETE_RECORDS)
        rolled = TopicPartition("rolled", 0)
        assert await delete_records(cluster, {rolled: 100}) == {rolled: 100}
        assert broker.seen(ApiKey.DELETE_RECORDS)[0].topics == golden.topics


async def test_offsets_by_time_may_lie_beyond_the_last_record() -> None:
    async with asked() as (broker, cluster):
        for offset, expected in ((7, 7), (-1, None)):
            found = ListOffsetsPartitionResponse(partition_index=0, timestamp=5, offset=offset)
            topic = ListOffsetsTopicResponse(name="tx", partitions=(found,))
            broker.tell(ApiKey.LIST_OFFSETS, response_class(ApiKey.LIST_OFFSETS)(topics=(topic,)))
            assert await offsets_at(cluster, [TX], 5) == {TX: expected}


async def test_a_cluster_its_quorum_and_its_disks() -> None:
    async with asked() as (broker, cluster):
        broker.tell_golden(ApiKey.DESCRIBE_CLUSTER)
        nodes = await describe_nodes(cluster)
        assert (nodes.controller, nodes.brokers[0].host) == (1, "127.0.0.1")
        broker.tell_golden(ApiKey.DESCRIBE_QUORUM)
        quorum = await describe_quorum(cluster)
        assert quorum is not None
        assert (quorum.leader, quorum.high_watermark) == (1, 254)
        assert [(each.id, each.lag, each.is_voter) for each in quorum.replicas] == [(1, 0, True)]
        broker.tell_golden(ApiKey.DESCRIBE_LOG_DIRS)
        (directory,) = await log_dirs(cluster)
        assert directory.total_bytes > directory.usable_bytes > 0
        assert ("odd", 0, 0, 0) in directory.replicas
        assert [each.name for each in await features(cluster)] == ["transaction.version"]


async def test_transactions_are_read_as_kafka_tells_them() -> None:
    async with asked() as (broker, cluster):
        broker.tell_golden(ApiKey.LIST_TRANSACTIONS)
        found = await list_transactions(cluster)
        assert ("golden-tx", 1, "CompleteCommit", 1) in found
        broker.tell_golden(ApiKey.DESCRIBE_TRANSACTIONS)
        described = await describe_transaction(cluster, "golden-open")
        assert (described.state, described.producer_id) == ("Ongoing", 2)
        assert TX in described.partitions
        broker.tell_golden(ApiKey.DESCRIBE_PRODUCERS)
        producers = (await describe_producers(cluster, [TX]))[TX]
        open_ones = [each for each in producers if each.txn_start >= 0]
        assert [each.producer_id for each in open_ones] == [2]
        assert not is_hanging(Open(TX, open_ones[0]), described)


async def test_unknown_states_are_refused_with_a_hint() -> None:
    async with asked() as (broker, cluster):
        answer = response_class(ApiKey.LIST_TRANSACTIONS)(unknown_state_filters=("Odd",))
        broker.tell(ApiKey.LIST_TRANSACTIONS, answer)
        with pytest.raises(TransportError, match="no transaction state Odd"):
            await list_transactions(cluster, states=["Odd"])


async def test_a_transaction_hangs_when_nobody_owns_up_to_it() -> None:
    producer = ActiveProducer(2, 0, 0, 1_000, 0, 27)
    owner = Described("id", "Ongoing", 2, 0, 1, 1, (TX,))
    assert is_hanging(Open(TX, producer), None)
    assert not is_hanging(Open(TX, producer), owner)
    assert is_hanging(Open(TX, producer), dataclasses.replace(owner, partitions=()))
    async with asked() as (broker, cluster):
        broker.tell_golden(ApiKey.DESCRIBE_PRODUCERS)
        broker.tell(ApiKey.LIST_TRANSACTIONS, response_class(ApiKey.LIST_TRANSACTIONS)())
        last = (await describe_producers(cluster, [TX]))[TX][1].last_timestamp_ms
        (found,) = await find_hanging(cluster, [TX], 60_000, last + 60_001)
        assert (found.tp, found.producer.producer_id) == (TX, 2)
        assert await find_hanging(cluster, [TX], 60_000, last + 60_000) == []


async def test_fencing_waits_until_the_abort_is_through() -> None:
    async with asked() as (broker, cluster):
        init = response_class(ApiKey.INIT_PRODUCER_ID)
        busy = init(error_code=ErrorCode.CONCURRENT_TRANSACTIONS)
        broker.tell(ApiKey.INIT_PRODUCER_ID, busy, busy, init(producer_id=7, producer_epoch=3))
        await fence(cluster, "id")
        assert len(broker.seen(ApiKey.INIT_PRODUCER_ID)) == 3
        refused = init(error_code=ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        broker.tell(ApiKey.INIT_PRODUCER_ID, refused)
        with pytest.raises(RequestRefused, match="AUTHORIZATION"):
            await fence(cluster, "id")


async def test_an_abort_marker_is_for_one_partition() -> None:
    async with asked() as (broker, cluster):
        broker.tell_golden(ApiKey.WRITE_TXN_MARKERS)
        await abort_partition(cluster, TX, 2, 5, -1)
        (marker,) = broker.seen(ApiKey.WRITE_TXN_MARKERS)[0].markers
        assert (marker.producer_id, marker.producer_epoch, marker.coordinator_epoch) == (2, 5, 0)
        assert not marker.transaction_result
        assert marker.topics[0].partition_indexes == (0,)


async def test_G6_offsets_of_a_group_are_deleted_as_kafkas_tool_does() -> None:
    async with asked() as (broker, cluster):
        golden = broker.tell_golden(ApiKey.OFFSET_DELETE)
        await Admin(cluster).delete_offsets("g-classic", [TopicPartition("tx", 1), TX])
        assert broker.seen(ApiKey.OFFSET_DELETE) == [golden]
