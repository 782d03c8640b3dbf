"""The table of APIs: numbers, names, the versions of Kafka 4.3, and where each message is declared.

Message modules are imported on first use, because start-up time counts. Which of these a broker
serves is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any


class ApiKey(IntEnum):
    """Number of an API on the wire."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    WRITE_TXN_MARKERS = 27
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_ACLS = 29
    CREATE_ACLS = 30
    DELETE_ACLS = 31
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    ALTER_REPLICA_LOG_DIRS = 34
    DESCRIBE_LOG_DIRS = 35
    SASL_AUTHENTICATE = 36
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42
    ELECT_LEADERS = 43
    INCREMENTAL_ALTER_CONFIGS = 44
    ALTER_PARTITION_REASSIGNMENTS = 45
    LIST_PARTITION_REASSIGNMENTS = 46
    OFFSET_DELETE = 47
    DESCRIBE_CLIENT_QUOTAS = 48
    ALTER_CLIENT_QUOTAS = 49
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50
    ALTER_USER_SCRAM_CREDENTIALS = 51
    DESCRIBE_QUORUM = 55
    UPDATE_FEATURES = 57
    DESCRIBE_CLUSTER = 60
    DESCRIBE_PRODUCERS = 61
    DESCRIBE_TRANSACTIONS = 65
    LIST_TRANSACTIONS = 66
    CONSUMER_GROUP_HEARTBEAT = 68
    CONSUMER_GROUP_DESCRIBE = 69
    LIST_CONFIG_RESOURCES = 74
    DESCRIBE_TOPIC_PARTITIONS = 75


_NEVER = 0x7FFF


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its versions here, the first flexible one, and the module that declares its
    messages.
    """

    key: ApiKey
    name: str
    min_version: int
    max_version: int
    flexible_from: int
    module: str

    def serves(self, version: int) -> bool:
        """Whether `version` can be read and written."""
        return self.min_version <= version <= self.max_version

    def flexible(self, version: int) -> bool:
        """Whether `version` has compact lengths and tagged fields (KIP-482)."""
        return version >= self.flexible_from


def _api(key: int, name: str, first: int, last: int, flexible: int | None) -> Api:
    known = ApiKey(key)
    flexible_from = _NEVER if flexible is None else flexible
    return Api(known, name, first, last, flexible_from, known.name.lower())


_ALL = (
    _api(0, "Produce", 3, 13, 9),
    _api(1, "Fetch", 4, 18, 12),
    _api(2, "ListOffsets", 1, 11, 6),
    _api(3, "Metadata", 0, 13, 9),
    _api(8, "OffsetCommit", 2, 10, 8),
    _api(9, "OffsetFetch", 1, 10, 6),
    _api(10, "FindCoordinator", 0, 6, 3),
    _api(11, "JoinGroup", 0, 9, 6),
    _api(12, "Heartbeat", 0, 4, 4),
    _api(13, "LeaveGroup", 0, 5, 4),
    _api(14, "SyncGroup", 0, 5, 4),
    _api(15, "DescribeGroups", 0, 6, 5),
    _api(16, "ListGroups", 0, 5, 3),
    _api(17, "SaslHandshake", 0, 1, None),
    _api(18, "ApiVersions", 0, 4, 3),
    _api(19, "CreateTopics", 2, 7, 5),
    _api(20, "DeleteTopics", 1, 6, 4),
    _api(21, "DeleteRecords", 0, 2, 2),
    _api(22, "InitProducerId", 0, 5, 2),
    _api(23, "OffsetForLeaderEpoch", 2, 4, 4),
    _api(24, "AddPartitionsToTxn", 0, 5, 3),
    _api(25, "AddOffsetsToTxn", 0, 4, 3),
    _api(26, "EndTxn", 0, 5, 3),
    _api(27, "WriteTxnMarkers", 1, 2, 1),
    _api(28, "TxnOffsetCommit", 0, 5, 3),
    _api(29, "DescribeAcls", 1, 3, 2),
    _api(30, "CreateAcls", 1, 3, 2),
    _api(31, "DeleteAcls", 1, 3, 2),
    _api(32, "DescribeConfigs", 1, 4, 4),
    _api(33, "AlterConfigs", 0, 2, 2),
    _api(34, "AlterReplicaLogDirs", 1, 2, 2),
    _api(35, "DescribeLogDirs", 1, 5, 2),
    _api(36, "SaslAuthenticate", 0, 2, 2),
    _api(37, "CreatePartitions", 0, 3, 2),
    _api(42, "DeleteGroups", 0, 2, 2),
    _api(43, "ElectLeaders", 0, 2, 2),
    _api(44, "IncrementalAlterConfigs", 0, 1, 1),
    _api(45, "AlterPartitionReassignments", 0, 1, 0),
    _api(46, "ListPartitionReassignments", 0, 0, 0),
    _api(47, "OffsetDelete", 0, 0, None),
    _api(48, "DescribeClientQuotas", 0, 1, 1),
    _api(49, "AlterClientQuotas", 0, 1, 1),
    _api(50, "DescribeUserScramCredentials", 0, 0, 0),
    _api(51, "AlterUserScramCredentials", 0, 0, 0),
    _api(55, "DescribeQuorum", 0, 2, 0),
    _api(57, "UpdateFeatures", 0, 2, 0),
    _api(60, "DescribeCluster", 0, 2, 0),
    _api(61, "DescribeProducers", 0, 0, 0),
    _api(65, "DescribeTransactions", 0, 0, 0),
    _api(66, "ListTransactions", 0, 2, 0),
    _api(68, "ConsumerGroupHeartbeat", 0, 1, 0),
    _api(69, "ConsumerGroupDescribe", 0, 1, 0),
    _api(74, "ListConfigResources", 0, 1, 0),
    _api(75, "DescribeTopicPartitions", 0, 0, 0),
)

API: Mapping[int, Api] = MappingProxyType({int(api.key): api for api in _ALL})
"""Every known API by its number."""


def _message(key: int, kind: str) -> type[Any]:
    api = API[key]
    module = import_module(f"flowstream.wire.messages.{api.module}")
    found: type[Any] = getattr(module, api.name + kind)
    return found


@cache
def request_class(key: int) -> type[Any]:
    """The class of the requests of an API; KeyError when there is no such API."""
    return _message(key, "Request")


@cache
def response_class(key: int) -> type[Any]:
    """The class of the responses of an API; KeyError when there is no such API."""
    return _message(key, "Response")
