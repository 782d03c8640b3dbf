"""Rules of requests about the cluster as a whole: CLUSTER_AUTHORIZATION_FAILED for all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstream.broker.authorization.admission import (
    PASS,
    Admission,
    Rule,
    partition,
    refuse,
)
from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.security.authorizer import Access
from flowstream.wire.acl_codes import Operation
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages import alter_configs as alter
from flowstream.wire.messages import elect_leaders as elect
from flowstream.wire.messages import incremental_alter_configs as incremental
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasResponse,
    EntityData,
    EntryDataResponse,
)
from flowstream.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsResponse,
)
from flowstream.wire.messages.alter_replica_log_dirs import (
    AlterReplicaLogDirPartitionResult,
    AlterReplicaLogDirsResponse,
    AlterReplicaLogDirTopicResult,
)
from flowstream.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
)
from flowstream.wire.messages.create_acls import AclCreationResult, CreateAclsResponse
from flowstream.wire.messages.delete_acls import DeleteAclsFilterResult, DeleteAclsResponse
from flowstream.wire.messages.describe_acls import DescribeAclsResponse
from flowstream.wire.messages.describe_client_quotas import DescribeClientQuotasResponse
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from flowstream.wire.messages.describe_log_dirs import DescribeLogDirsResponse
from flowstream.wire.messages.describe_quorum import DescribeQuorumResponse
from flowstream.wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsResponse,
)
from flowstream.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from flowstream.wire.messages.list_config_resources import ListConfigResourcesResponse
from flowstream.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsResponse,
)
from flowstream.wire.messages.update_features import UpdateFeaturesResponse

FAILED = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
MESSAGE = "Cluster authorization failed."
MANY_KEYS = 4
GROUPS, TRANSACTIONS = 0, 1
"""What FindCoordinator looks for."""


def _needs(operation: Operation, refusal: Callable[[Any], object]) -> Rule:
    """`operation` on the cluster."""

    def rule(request: Request[Any], access: Access, cores: Cores) -> Admission:
        return PASS if access.cluster(operation) else refuse(refusal(request.body))

    return rule


describe_acls = _needs(
    Operation.DESCRIBE, lambda _: DescribeAclsResponse(error_code=FAILED, error_message=MESSAGE)
)
create_acls = _needs(
    Operation.ALTER,
    lambda body: CreateAclsResponse(
        results=tuple(
            AclCreationResult(error_code=FAILED, error_message=MESSAGE) for _ in body.creations
        )
    ),
)
delete_acls = _needs(
    Operation.ALTER,
    lambda body: DeleteAclsResponse(
        filter_results=tuple(
            DeleteAclsFilterResult(error_code=FAILED, error_message=MESSAGE) for _ in body.filters
        )
    ),
)
alter_replica_log_dirs = _needs(
    Operation.ALTER,
    lambda body: AlterReplicaLogDirsResponse(
        results=tuple(
            AlterReplicaLogDirTopicResult(
                topic_name=topic.name,
                partitions=tuple(
                    AlterReplicaLogDirPartitionResult(partition_index=number, error_code=FAILED)
                    for number in topic.partitions
                ),
            )
            for each in body.dirs
            for topic in each.topics
        )
    ),
)
describe_log_dirs = _needs(Operation.DESCRIBE, lambda _: DescribeLogDirsResponse(error_code=FAILED))
alter_partition_reassignments = _needs(
    Operation.ALTER,
    lambda _: AlterPartitionReassignmentsResponse(error_code=FAILED, error_message=MESSAGE),
)
list_partition_reassignments = _needs(
    Operation.DESCRIBE,
    lambda _: ListPartitionReassignmentsResponse(error_code=FAILED, error_message=MESSAGE),
)
describe_client_quotas = _needs(
    Operation.DESCRIBE_CONFIGS,
    lambda _: DescribeClientQuotasResponse(error_code=FAILED, error_message=MESSAGE, entries=None),
)
alter_client_quotas = _needs(
    Operation.ALTER_CONFIGS,
    lambda body: AlterClientQuotasResponse(
        entries=tuple(
            EntryDataResponse(
                error_code=FAILED,
                error_message=MESSAGE,
                entity=tuple(
                    EntityData(entity_type=e.entity_type, entity_name=e.entity_name)
                    for e in entry.entity
                ),
            )
            for entry in body.entries
        )
    ),
)
describe_user_scram_credentials = _needs(
    Operation.DESCRIBE,
    lambda _: DescribeUserScramCredentialsResponse(error_code=FAILED, error_message=MESSAGE),
)
alter_user_scram_credentials = _needs(
    Operation.ALTER,
    lambda body: AlterUserScramCredentialsResponse(
        results=tuple(
            AlterUserScramCredentialsResult(user=user, error_code=FAILED, error_message=MESSAGE)
            for user in dict.fromkeys(each.name for each in (*body.deletions, *body.upsertions))
        )
    ),
)
describe_quorum = _needs(
    Operation.DESCRIBE,
    lambda _: DescribeQuorumResponse(error_code=FAILED, error_message=MESSAGE),
)
update_features = _needs(
    Operation.ALTER,
    lambda _: UpdateFeaturesResponse(error_code=FAILED, error_message=MESSAGE),
)
list_config_resources = _needs(
    Operation.DESCRIBE_CONFIGS, lambda _: ListConfigResourcesResponse(error_code=FAILED)
)


def elect_leaders(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Alter on the cluster. Before 1 only partitions have errors."""
    if access.cluster(Operation.ALTER):
        return PASS
    results = tuple(
        elect.ReplicaElectionResult(
            topic=topic.topic,
            partition_result=tuple(
                elect.PartitionResult(partition_id=number, error_code=FAILED, error_message=MESSAGE)
                for number in topic.partitions
            ),
        )
        for topic in request.body.topic_partitions or ()
    )
    error = FAILED if request.to.version >= 1 else ErrorCode.NONE
    return refuse(elect.ElectLeadersResponse(error_code=error, replica_election_results=results))


def find_coordinator(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on the group or the transactional id; ClusterAction for share groups' state."""
    body = request.body

    def allowed(key: str) -> bool:
        if body.key_type == GROUPS:
            return access.group(Operation.DESCRIBE, key)
        if body.key_type == TRANSACTIONS:
            return access.transactional_id(Operation.DESCRIBE, key)
        return access.cluster(Operation.CLUSTER_ACTION)

    error = {
        GROUPS: ErrorCode.GROUP_AUTHORIZATION_FAILED,
        TRANSACTIONS: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }.get(body.key_type, FAILED)
    if request.to.version < MANY_KEYS:
        if allowed(body.key):
            return PASS
        nowhere = FindCoordinatorResponse(
            error_code=error, error_message=error.name, node_id=-1, port=-1
        )
        return refuse(nowhere)
    return partition(
        body,
        "coordinator_keys",
        allowed,
        FindCoordinatorResponse,
        "coordinators",
        lambda key: Coordinator(
            key=key, node_id=-1, port=-1, error_code=error, error_message=error.name
        ),
    )


def _configs_rule(
    operation: Operation, response: Callable[..., Any], answers: str, result: Callable[..., Any]
) -> Rule:
    """`operation` on the topic or the group; on the cluster for brokers and everything else."""

    def rule(request: Request[Any], access: Access, cores: Cores) -> Admission:
        def allowed(resource: Any) -> bool:
            if resource.resource_type == ResourceType.TOPIC:
                return access.topic(operation, resource.resource_name)
            if resource.resource_type == ResourceType.GROUP:
                return access.group(operation, resource.resource_name)
            return access.cluster(operation)

        def refusal(resource: Any) -> Any:
            error = {
                int(ResourceType.TOPIC): ErrorCode.TOPIC_AUTHORIZATION_FAILED,
                int(ResourceType.GROUP): ErrorCode.GROUP_AUTHORIZATION_FAILED,
            }.get(resource.resource_type, FAILED)
            return result(
                error_code=error,
                error_message=error.name,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
            )

        return partition(request.body, "resources", allowed, response, answers, refusal)

    return rule


describe_configs = _configs_rule(
    Operation.DESCRIBE_CONFIGS, DescribeConfigsResponse, "results", DescribeConfigsResult
)
alter_configs = _configs_rule(
    Operation.ALTER_CONFIGS,
    alter.AlterConfigsResponse,
    "responses",
    alter.AlterConfigsResourceResponse,
)
incremental_alter_configs = _configs_rule(
    Operation.ALTER_CONFIGS,
    incremental.IncrementalAlterConfigsResponse,
    "responses",
    incremental.AlterConfigsResourceResponse,
)
