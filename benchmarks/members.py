"""A group of one member each, by raw requests: join once, then wait for a batch, read, commit."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from benchmarks.raw import Client, request_bytes
from flowstream.wire.api import ApiKey
from flowstream.wire.frame import decode_response
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

FETCH_VERSION = 11
COMMIT_VERSION = 8
JOIN_VERSION = 3
"""The last one that lets a member in without naming it first (KIP-394)."""
SYNC_VERSION = 2
SESSION_MS = 1_800_000
"""No heartbeat is needed while a row is measured: Kafka's largest session."""


class Member:
    """The only member of a group of its own, which reads partition 0 of a topic."""

    def __init__(self, client: Client, topic: str) -> None:
        """Join, and be assigned nothing in particular: one member reads as it likes."""
        self._client = client
        self._topic = topic
        self._group = f"bench-{uuid.uuid4().hex[:12]}"
        self._offset = 0
        protocol = JoinGroupRequestProtocol(name="range", metadata=b"")
        join = JoinGroupRequest(
            group_id=self._group,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=60_000,
            member_id="",
            protocol_type="consumer",
            protocols=(protocol,),
        )
        joined = client.ask(ApiKey.JOIN_GROUP, JOIN_VERSION, join)
        _accept(joined.error_code)
        self._member_id, self._generation = joined.member_id, joined.generation_id
        sync = SyncGroupRequest(
            group_id=self._group,
            generation_id=self._generation,
            member_id=self._member_id,
            assignments=(SyncGroupRequestAssignment(member_id=self._member_id, assignment=b""),),
        )
        _accept(client.ask(ApiKey.SYNC_GROUP, SYNC_VERSION, sync).error_code)

    def fetch(self) -> None:
        """Ask for what comes next, without waiting for it."""
        asked = FetchPartition(partition=0, fetch_offset=self._offset, partition_max_bytes=1 << 20)
        body = FetchRequest(
            max_wait_ms=30_000,
            min_bytes=1,
            max_bytes=1 << 20,
            topics=(FetchTopic(topic=self._topic, partitions=(asked,)),),
        )
        self._client.send(request_bytes(ApiKey.FETCH, FETCH_VERSION, body))

    def commit(self, count: int) -> None:
        """Take the answer, which must hold something, and commit `count` records further."""
        answer = decode_response(ApiKey.FETCH, FETCH_VERSION, self._client.receive(1)[0])[1]
        data = answer.responses[0].partitions[0]
        _accept(data.error_code)
        if not data.records:
            raise RuntimeError("a fetch came back empty")
        self._offset += count
        partition = OffsetCommitRequestPartition(
            partition_index=0, committed_offset=self._offset, committed_metadata=None
        )
        body = OffsetCommitRequest(
            group_id=self._group,
            generation_id_or_member_epoch=self._generation,
            member_id=self._member_id,
            topics=(OffsetCommitRequestTopic(name=self._topic, partitions=(partition,)),),
        )
        self._client.send(request_bytes(ApiKey.OFFSET_COMMIT, COMMIT_VERSION, body))

    def committed(self) -> None:
        """Wait until the commit is answered."""
        raw = self._client.receive(1)[0]
        answer = decode_response(ApiKey.OFFSET_COMMIT, COMMIT_VERSION, raw)[1]
        _accept(answer.topics[0].partitions[0].error_code)


def members_of(clients: Sequence[Client], topic: str) -> list[Member]:
    """One group for each client."""
    return [Member(client, topic) for client in clients]


def _accept(error_code: int) -> None:
    if error_code:
        raise RuntimeError(f"the broker answered error {error_code}")
