"""A broker of one node that answers from a script: what a test says, else success.

It speaks the wire for real, so that a client under test needs no seams.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from flowstream.wire.api import API, ApiKey
from flowstream.wire.frame import Request, decode_request, encode_response
from flowstream.wire.messages import (
    add_offsets_to_txn,
    add_partitions_to_txn,
    api_versions,
    end_txn,
    find_coordinator,
    init_producer_id,
    metadata,
    produce,
    txn_offset_commit,
)

DROP = object()
"""Scripted instead of an answer: close the connection."""
SILENCE = object()
"""Scripted instead of an answer: say nothing."""


class FakeBroker:
    """Counts epochs, remembers requests, and answers `script`ed codes first."""

    def __init__(self, topics: Mapping[str, int], *, transaction_version: int = 2) -> None:
        self.topics = dict(topics)
        self.transaction_version = transaction_version
        self.requests: list[Request] = []
        self.address = ""
        self.epoch = 0
        self._port = 0
        self._scripts: dict[ApiKey, deque[object]] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._last_end: Any = None

    def script(self, key: ApiKey, *answers: object) -> None:
        """Answer the next requests of an API with these: an error code, DROP or SILENCE."""
        self._scripts.setdefault(key, deque()).extend(answers)

    def seen(self, key: ApiKey) -> list[Any]:
        """Bodies of the requests of one API, in order."""
        return [request.body for request in self.requests if request.key == key]

    def versions(self, key: ApiKey) -> set[int]:
        """Versions in which an API was asked."""
        return {request.version for request in self.requests if request.key == key}

    def is_left(self) -> bool:
        """Whether no client is connected."""
        return not self._writers

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what requests and connections will bring about."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def __aenter__(self) -> FakeBroker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = decode_request(await reader.readexactly(size))
                answer = self._answer(request)
                if answer is DROP:
                    break
                if answer is SILENCE:
                    continue
                parts = encode_response(
                    request.key, request.version, request.correlation_id, answer
                )
                writer.write(b"".join(parts))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, request: Request) -> object:
        key = ApiKey(request.key)
        self.requests.append(request)
        script = self._scripts.get(key)
        scripted = script.popleft() if script else 0
        if scripted is DROP or scripted is SILENCE:
            return scripted
        assert isinstance(scripted, int)
        return ANSWERS[key](self, request, scripted)

    def api_versions(self, request: Request, code: int) -> Any:
        keys = tuple(
            api_versions.ApiVersion(
                api_key=api.key, min_version=api.min_version, max_version=api.max_version
            )
            for api in API.values()
        )
        feature = api_versions.FinalizedFeatureKey(
            name="transaction.version",
            max_version_level=self.transaction_version,
            min_version_level=self.transaction_version,
        )
        return api_versions.ApiVersionsResponse(
            error_code=code, api_keys=keys, finalized_features=(feature,)
        )

    def metadata(self, request: Request, code: int) -> Any:
        asked = request.body.topics
        names = sorted(self.topics) if asked is None else [topic.name for topic in asked]
        return metadata.MetadataResponse(
            brokers=(
                metadata.MetadataResponseBroker(node_id=1, host="127.0.0.1", port=self._port),
            ),
            controller_id=1,
            topics=tuple(self._topic(name, code) for name in names),
        )

    def _topic(self, name: str, code: int) -> Any:
        partitions = tuple(
            metadata.MetadataResponsePartition(
                partition_index=n, leader_id=1, replica_nodes=(1,), isr_nodes=(1,)
            )
            for n in range(self.topics.get(name, 0))
        )
        missing = 0 if name in self.topics else 3
        return metadata.MetadataResponseTopic(
            error_code=code or missing, name=name, partitions=partitions
        )

    def find_coordinator(self, request: Request, code: int) -> Any:
        body = request.body
        place: dict[str, Any] = {"node_id": 1, "host": "127.0.0.1", "port": self._port}
        if request.version < 4:
            return find_coordinator.FindCoordinatorResponse(error_code=code, **place)
        return find_coordinator.FindCoordinatorResponse(
            coordinators=tuple(
                find_coordinator.Coordinator(key=key, error_code=code, **place)
                for key in body.coordinator_keys
            )
        )

    def init_producer_id(self, request: Request, code: int) -> Any:
        if not code:
            self.epoch += 1
        return init_producer_id.InitProducerIdResponse(
            error_code=code, producer_id=7, producer_epoch=self.epoch
        )

    def produce(self, request: Request, code: int) -> Any:
        topics = tuple(
            produce.TopicProduceResponse(
                name=topic.name,
                partition_responses=tuple(
                    produce.PartitionProduceResponse(index=p.index, error_code=code)
                    for p in topic.partition_data
                ),
            )
            for topic in request.body.topic_data
        )
        return produce.ProduceResponse(responses=topics)

    def add_partitions(self, request: Request, code: int) -> Any:
        topics = tuple(
            add_partitions_to_txn.AddPartitionsToTxnTopicResult(
                name=topic.name,
                results_by_partition=tuple(
                    add_partitions_to_txn.AddPartitionsToTxnPartitionResult(
                        partition_index=n, partition_error_code=code
                    )
                    for n in topic.partitions
                ),
            )
            for topic in request.body.v3_and_below_topics
        )
        return add_partitions_to_txn.AddPartitionsToTxnResponse(
            results_by_topic_v3_and_below=topics
        )

    def add_offsets(self, request: Request, code: int) -> Any:
        return add_offsets_to_txn.AddOffsetsToTxnResponse(error_code=code)

    def txn_offset_commit(self, request: Request, code: int) -> Any:
        topics = tuple(
            txn_offset_commit.TxnOffsetCommitResponseTopic(
                name=topic.name,
                partitions=tuple(
                    txn_offset_commit.TxnOffsetCommitResponsePartition(
                        partition_index=p.partition_index, error_code=code
                    )
                    for p in topic.partitions
                ),
            )
            for topic in request.body.topics
        )
        return txn_offset_commit.TxnOffsetCommitResponse(topics=topics)

    def end_txn(self, request: Request, code: int) -> Any:
        if request.version < 5 or code:
            return end_txn.EndTxnResponse(error_code=code)
        if request.body != self._last_end:
            self.epoch += 1
            self._last_end = request.body
        return end_txn.EndTxnResponse(producer_id=7, producer_epoch=self.epoch)


ANSWERS: Mapping[ApiKey, Any] = {
    ApiKey.API_VERSIONS: FakeBroker.api_versions,
    ApiKey.METADATA: FakeBroker.metadata,
    ApiKey.FIND_COORDINATOR: FakeBroker.find_coordinator,
    ApiKey.INIT_PRODUCER_ID: FakeBroker.init_producer_id,
    ApiKey.PRODUCE: FakeBroker.produce,
    ApiKey.ADD_PARTITIONS_TO_TXN: FakeBroker.add_partitions,
    ApiKey.ADD_OFFSETS_TO_TXN: FakeBroker.add_offsets,
    ApiKey.TXN_OFFSET_COMMIT: FakeBroker.txn_offset_commit,
    ApiKey.END_TXN: FakeBroker.end_txn,
}
