"""A request of every API, what it takes to be let through, and how it is refused.

Topic `t`, group `g` and transactional id `x` are what the requests are about.
"""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from flowstream.wire.acl_codes import CLUSTER_NAME, Operation, ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages import (
    add_offsets_to_txn,
    add_partitions_to_txn,
    alter_client_quotas,
    alter_configs,
    alter_partition_reassignments,
    alter_replica_log_dirs,
    alter_user_scram_credentials,
    api_versions,
    consumer_group_describe,
    consumer_group_heartbeat,
    create_acls,
    create_partitions,
    create_topics,
    delete_acls,
    delete_groups,
    delete_records,
    delete_topics,
    describe_acls,
    describe_client_quotas,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_log_dirs,
    describe_producers,
    describe_quorum,
    describe_topic_partitions,
    describe_transactions,
    describe_user_scram_credentials,
    elect_leaders,
    end_txn,
    fetch,
    find_coordinator,
    heartbeat,
    incremental_alter_configs,
    init_producer_id,
    join_group,
    leave_group,
    list_config_resources,
    list_groups,
    list_offsets,
    list_partition_reassignments,
    list_transactions,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    sasl_authenticate,
    sasl_handshake,
    sync_group,
    txn_offset_commit,
    update_features,
    write_txn_markers,
)

Grant = tuple[ResourceType, str, Operation]

TOPIC_ID = bytes(range(1, 17))


def topic(operation: Operation) -> Grant:
    return ResourceType.TOPIC, "t", operation


def group(operation: Operation) -> Grant:
    return ResourceType.GROUP, "g", operation


def transaction(operation: Operation) -> Grant:
    return ResourceType.TRANSACTIONAL_ID, "x", operation


def cluster(operation: Operation) -> Grant:
    return ResourceType.CLUSTER, CLUSTER_NAME, operation


class Asked(NamedTuple):
    """The request of a version; all of `grants` are needed; without one of them the answer has an
    error of `errors`. Without errors what is not allowed is left out of the answer or, if there
    are no grants, all are answered.
    """

    body: Callable[[int], Any]
    grants: Callable[[int], tuple[Grant, ...]]
    errors: tuple[ErrorCode, ...] = ()


T = ErrorCode.TOPIC_AUTHORIZATION_FAILED
G = ErrorCode.GROUP_AUTHORIZATION_FAILED
C = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
X = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
O = Operation  # noqa: E741 - short in the table


def named(version: int, since: int) -> dict[str, Any]:
    """Topic `t`, by id from version `since` on."""
    return {"topic_id": TOPIC_ID} if version >= since else {"name": "t"}


def to_fetch(version: int) -> Any:
    by = {"topic_id": TOPIC_ID} if version >= 13 else {"topic": "t"}
    return fetch.FetchRequest(
        topics=(fetch.FetchTopic(partitions=(fetch.FetchPartition(),), **by),)
    )


def to_fetch_offsets(version: int) -> Any:
    if version < 8:
        one = offset_fetch.OffsetFetchRequestTopic(name="t", partition_indexes=(0,))
        return offset_fetch.OffsetFetchRequest(group_id="g", topics=(one,))
    many = offset_fetch.OffsetFetchRequestTopics(partition_indexes=(0,), **named(version, 10))
    group = offset_fetch.OffsetFetchRequestGroup(group_id="g", topics=(many,))
    return offset_fetch.OffsetFetchRequest(groups=(group,))


def to_join_transaction(version: int) -> Any:
    topics = (add_partitions_to_txn.AddPartitionsToTxnTopic(name="t", partitions=(0,)),)
    if version < 4:
        return add_partitions_to_txn.AddPartitionsToTxnRequest(
            v3_and_below_transactional_id="x", v3_and_below_topics=topics
        )
    one = add_partitions_to_txn.AddPartitionsToTxnTransaction(transactional_id="x", topics=topics)
    return add_partitions_to_txn.AddPartitionsToTxnRequest(transactions=(one,))


def to_delete(version: int) -> Any:
    if version < 6:
        return delete_topics.DeleteTopicsRequest(topic_names=("t",))
    return delete_topics.DeleteTopicsRequest(
        topics=(delete_topics.DeleteTopicState(name=None, topic_id=TOPIC_ID),)
    )


def always(*grants: Grant) -> Callable[[int], tuple[Grant, ...]]:
    return lambda version: grants


def one_config(module: Any) -> Any:
    return module.AlterConfigsResource(
        resource_type=2,
        resource_name="t",
        configs=(module.AlterableConfig(name="retention.ms", value="1"),),
    )


# fmt: off
ASKED: dict[int, Asked] = {
    0: Asked(lambda v: produce.ProduceRequest(transactional_id="x", acks=-1, topic_data=(produce.TopicProduceData(partition_data=(produce.PartitionProduceData(records=b""),), **named(v, 13)),)), always(topic(O.WRITE), transaction(O.WRITE)), (T, X)),
    1: Asked(to_fetch, always(topic(O.READ)), (T,)),
    2: Asked(lambda v: list_offsets.ListOffsetsRequest(replica_id=-1, topics=(list_offsets.ListOffsetsTopic(name="t", partitions=(list_offsets.ListOffsetsPartition(),)),)), always(topic(O.DESCRIBE)), (T,)),
    3: Asked(lambda v: metadata.MetadataRequest(topics=(metadata.MetadataRequestTopic(name="t"),)), always(topic(O.DESCRIBE)), (T,)),
    8: Asked(lambda v: offset_commit.OffsetCommitRequest(group_id="g", topics=(offset_commit.OffsetCommitRequestTopic(partitions=(offset_commit.OffsetCommitRequestPartition(),), **named(v, 10)),)), always(group(O.READ), topic(O.READ)), (G, T)),
    9: Asked(to_fetch_offsets, always(group(O.DESCRIBE), topic(O.DESCRIBE)), (G, T)),
    10: Asked(lambda v: find_coordinator.FindCoordinatorRequest(coordinator_keys=("g",)) if v >= 4 else find_coordinator.FindCoordinatorRequest(key="g"), always(group(O.DESCRIBE)), (G,)),
    11: Asked(lambda v: join_group.JoinGroupRequest(group_id="g"), always(group(O.READ)), (G,)),
    12: Asked(lambda v: heartbeat.HeartbeatRequest(group_id="g"), always(group(O.READ)), (G,)),
    13: Asked(lambda v: leave_group.LeaveGroupRequest(group_id="g"), always(group(O.READ)), (G,)),
    14: Asked(lambda v: sync_group.SyncGroupRequest(group_id="g"), always(group(O.READ)), (G,)),
    15: Asked(lambda v: describe_groups.DescribeGroupsRequest(groups=("g",)), always(group(O.DESCRIBE)), (G,)),
    16: Asked(lambda v: list_groups.ListGroupsRequest(), always(group(O.DESCRIBE))),
    17: Asked(lambda v: sasl_handshake.SaslHandshakeRequest(mechanism="PLAIN"), always()),
    18: Asked(lambda v: api_versions.ApiVersionsRequest(client_software_name="x", client_software_version="1"), always()),
    19: Asked(lambda v: create_topics.CreateTopicsRequest(topics=(create_topics.CreatableTopic(name="t"),)), always(topic(O.CREATE)), (T,)),
    20: Asked(to_delete, always(topic(O.DELETE)), (T,)),
    21: Asked(lambda v: delete_records.DeleteRecordsRequest(topics=(delete_records.DeleteRecordsTopic(name="t", partitions=(delete_records.DeleteRecordsPartition(),)),)), always(topic(O.DELETE)), (T,)),
    22: Asked(lambda v: init_producer_id.InitProducerIdRequest(transactional_id="x"), always(transaction(O.WRITE)), (X,)),
    23: Asked(lambda v: offset_for_leader_epoch.OffsetForLeaderEpochRequest(replica_id=-2, topics=(offset_for_leader_epoch.OffsetForLeaderTopic(topic="t", partitions=(offset_for_leader_epoch.OffsetForLeaderPartition(),)),)), always(topic(O.DESCRIBE)), (T,)),
    24: Asked(to_join_transaction, lambda v: (transaction(O.WRITE), topic(O.WRITE)) if v < 4 else (cluster(O.CLUSTER_ACTION),), (X, T, C)),
    25: Asked(lambda v: add_offsets_to_txn.AddOffsetsToTxnRequest(transactional_id="x", group_id="g"), always(transaction(O.WRITE), group(O.READ)), (X, G)),
    26: Asked(lambda v: end_txn.EndTxnRequest(transactional_id="x"), always(transaction(O.WRITE)), (X,)),
    27: Asked(lambda v: write_txn_markers.WriteTxnMarkersRequest(markers=(write_txn_markers.WritableTxnMarker(topics=(write_txn_markers.WritableTxnMarkerTopic(name="t", partition_indexes=(0,)),)),)), always(cluster(O.ALTER)), (C,)),
    28: Asked(lambda v: txn_offset_commit.TxnOffsetCommitRequest(transactional_id="x", group_id="g", topics=(txn_offset_commit.TxnOffsetCommitRequestTopic(name="t", partitions=(txn_offset_commit.TxnOffsetCommitRequestPartition(),)),)), always(transaction(O.WRITE), group(O.READ), topic(O.READ)), (X, G, T)),
    29: Asked(lambda v: describe_acls.DescribeAclsRequest(resource_type_filter=1, operation=1, permission_type=1), always(cluster(O.DESCRIBE)), (C,)),
    30: Asked(lambda v: create_acls.CreateAclsRequest(creations=(create_acls.AclCreation(),)), always(cluster(O.ALTER)), (C,)),
    31: Asked(lambda v: delete_acls.DeleteAclsRequest(filters=(delete_acls.DeleteAclsFilter(),)), always(cluster(O.ALTER)), (C,)),
    32: Asked(lambda v: describe_configs.DescribeConfigsRequest(resources=(describe_configs.DescribeConfigsResource(resource_type=2, resource_name="t", configuration_keys=None),)), always(topic(O.DESCRIBE_CONFIGS)), (T,)),
    33: Asked(lambda v: alter_configs.AlterConfigsRequest(resources=(one_config(alter_configs),)), always(topic(O.ALTER_CONFIGS)), (T,)),
    34: Asked(lambda v: alter_replica_log_dirs.AlterReplicaLogDirsRequest(dirs=(alter_replica_log_dirs.AlterReplicaLogDir(path="/", topics=(alter_replica_log_dirs.AlterReplicaLogDirTopic(name="t", partitions=(0,)),)),)), always(cluster(O.ALTER)), (C,)),
    35: Asked(lambda v: describe_log_dirs.DescribeLogDirsRequest(topics=None), always(cluster(O.DESCRIBE)), (C,)),
    36: Asked(lambda v: sasl_authenticate.SaslAuthenticateRequest(auth_bytes=b""), always()),
    37: Asked(lambda v: create_partitions.CreatePartitionsRequest(topics=(create_partitions.CreatePartitionsTopic(name="t", count=2, assignments=None),)), always(topic(O.ALTER)), (T,)),
    42: Asked(lambda v: delete_groups.DeleteGroupsRequest(groups_names=("g",)), always(group(O.DELETE)), (G,)),
    43: Asked(lambda v: elect_leaders.ElectLeadersRequest(topic_partitions=(elect_leaders.TopicPartitions(topic="t", partitions=(0,)),)), always(cluster(O.ALTER)), (C,)),
    44: Asked(lambda v: incremental_alter_configs.IncrementalAlterConfigsRequest(resources=(one_config(incremental_alter_configs),)), always(topic(O.ALTER_CONFIGS)), (T,)),
    45: Asked(lambda v: alter_partition_reassignments.AlterPartitionReassignmentsRequest(), always(cluster(O.ALTER)), (C,)),
    46: Asked(lambda v: list_partition_reassignments.ListPartitionReassignmentsRequest(topics=None), always(cluster(O.DESCRIBE)), (C,)),
    47: Asked(lambda v: offset_delete.OffsetDeleteRequest(group_id="g", topics=(offset_delete.OffsetDeleteRequestTopic(name="t", partitions=(offset_delete.OffsetDeleteRequestPartition(),)),)), always(group(O.DELETE), topic(O.READ)), (G, T)),
    48: Asked(lambda v: describe_client_quotas.DescribeClientQuotasRequest(), always(cluster(O.DESCRIBE_CONFIGS)), (C,)),
    49: Asked(lambda v: alter_client_quotas.AlterClientQuotasRequest(entries=(alter_client_quotas.EntryData(),)), always(cluster(O.ALTER_CONFIGS)), (C,)),
    50: Asked(lambda v: describe_user_scram_credentials.DescribeUserScramCredentialsRequest(users=None), always(cluster(O.DESCRIBE)), (C,)),
    51: Asked(lambda v: alter_user_scram_credentials.AlterUserScramCredentialsRequest(deletions=(alter_user_scram_credentials.ScramCredentialDeletion(name="u", mechanism=1),)), always(cluster(O.ALTER)), (C,)),
    55: Asked(lambda v: describe_quorum.DescribeQuorumRequest(), always(cluster(O.DESCRIBE)), (C,)),
    57: Asked(lambda v: update_features.UpdateFeaturesRequest(), always(cluster(O.ALTER)), (C,)),
    60: Asked(lambda v: describe_cluster.DescribeClusterRequest(endpoint_type=1), always()),
    61: Asked(lambda v: describe_producers.DescribeProducersRequest(topics=(describe_producers.TopicRequest(name="t", partition_indexes=(0,)),)), always(topic(O.READ)), (T,)),
    65: Asked(lambda v: describe_transactions.DescribeTransactionsRequest(transactional_ids=("x",)), always(transaction(O.DESCRIBE)), (X,)),
    66: Asked(lambda v: list_transactions.ListTransactionsRequest(transactional_id_pattern=None), always(transaction(O.DESCRIBE))),
    68: Asked(lambda v: consumer_group_heartbeat.ConsumerGroupHeartbeatRequest(group_id="g", subscribed_topic_names=("t",), topic_partitions=None), always(group(O.READ), topic(O.DESCRIBE)), (G, T)),
    69: Asked(lambda v: consumer_group_describe.ConsumerGroupDescribeRequest(group_ids=("g",)), always(group(O.DESCRIBE)), (G,)),
    74: Asked(lambda v: list_config_resources.ListConfigResourcesRequest(), always(cluster(O.DESCRIBE_CONFIGS)), (C,)),
    75: Asked(lambda v: describe_topic_partitions.DescribeTopicPartitionsRequest(topics=(describe_topic_partitions.TopicRequest(name="t"),)), always(topic(O.DESCRIBE)), (T,)),
}
# fmt: on
