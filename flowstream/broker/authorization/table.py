"""The table: every API and version with its rule. What is not here is refused (X7).

The comment is what a peer needs; `super.users` need nothing. A new API or version gets its line
here before it is served, and `tests/broker/security` walks all of it.
"""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from flowstream.broker.authorization import cluster, describing, groups, topics, transactions
from flowstream.broker.authorization.admission import Rule, free
from flowstream.broker.authorization.positions import offset_fetch


class Entry(NamedTuple):
    """The rule of an API from version `first` to `last`."""

    first: int
    last: int
    rule: Rule


# fmt: off
TABLE: Mapping[int, Entry] = {
    0: Entry(3, 13, topics.produce),                              # Write Topic; Write TransactionalId
    1: Entry(4, 18, topics.fetch),                                # Read Topic; a follower: ClusterAction
    2: Entry(1, 11, topics.list_offsets),                         # Describe Topic
    3: Entry(0, 13, describing.metadata),                         # Describe Topic; to create: Create Cluster or Topic
    8: Entry(2, 10, groups.offset_commit),                        # Read Group, Read Topic
    9: Entry(1, 10, offset_fetch),                                # Describe Group, Describe Topic
    10: Entry(0, 6, cluster.find_coordinator),                    # Describe Group or TransactionalId
    11: Entry(0, 9, groups.join_group),                           # Read Group
    12: Entry(0, 4, groups.heartbeat),                            # Read Group
    13: Entry(0, 5, groups.leave_group),                          # Read Group
    14: Entry(0, 5, groups.sync_group),                           # Read Group
    15: Entry(0, 6, groups.describe_groups),                      # Describe Group
    16: Entry(0, 5, groups.list_groups),                          # Describe Cluster, or Describe Group for each
    17: Entry(0, 1, free),
    18: Entry(0, 4, free),
    19: Entry(2, 7, topics.create_topics),                        # Create Cluster or Topic
    20: Entry(1, 6, topics.delete_topics),                        # Delete Topic; by name Describe Topic
    21: Entry(0, 2, topics.delete_records),                       # Delete Topic
    22: Entry(0, 6, transactions.init_producer_id),               # Write TransactionalId; or IdempotentWrite, or Write on some Topic
    23: Entry(2, 4, topics.offset_for_leader_epoch),              # Describe Topic
    24: Entry(0, 5, transactions.add_partitions_to_txn),          # Write TransactionalId, Write Topic; from 4: ClusterAction
    25: Entry(0, 4, transactions.add_offsets_to_txn),             # Write TransactionalId, Read Group
    26: Entry(0, 5, transactions.end_txn),                        # Write TransactionalId
    27: Entry(1, 2, transactions.write_txn_markers),              # Alter Cluster or ClusterAction
    28: Entry(0, 5, transactions.txn_offset_commit),              # Write TransactionalId, Read Group, Read Topic
    29: Entry(1, 3, cluster.describe_acls),                       # Describe Cluster
    30: Entry(1, 3, cluster.create_acls),                         # Alter Cluster
    31: Entry(1, 3, cluster.delete_acls),                         # Alter Cluster
    32: Entry(1, 4, cluster.describe_configs),                    # DescribeConfigs Topic, Group or Cluster
    33: Entry(0, 2, cluster.alter_configs),                       # AlterConfigs Topic, Group or Cluster
    34: Entry(1, 2, cluster.alter_replica_log_dirs),              # Alter Cluster
    35: Entry(1, 5, cluster.describe_log_dirs),                   # Describe Cluster
    36: Entry(0, 2, free),
    37: Entry(0, 3, topics.create_partitions),                    # Alter Topic
    42: Entry(0, 2, groups.delete_groups),                        # Delete Group
    43: Entry(0, 2, cluster.elect_leaders),                       # Alter Cluster
    44: Entry(0, 1, cluster.incremental_alter_configs),           # AlterConfigs Topic, Group or Cluster
    45: Entry(0, 1, cluster.alter_partition_reassignments),       # Alter Cluster
    46: Entry(0, 0, cluster.list_partition_reassignments),        # Describe Cluster
    47: Entry(0, 0, groups.offset_delete),                        # Delete Group, Read Topic
    48: Entry(0, 1, cluster.describe_client_quotas),              # DescribeConfigs Cluster
    49: Entry(0, 1, cluster.alter_client_quotas),                 # AlterConfigs Cluster
    50: Entry(0, 0, cluster.describe_user_scram_credentials),     # Describe Cluster
    51: Entry(0, 0, cluster.alter_user_scram_credentials),        # Alter Cluster
    55: Entry(0, 2, cluster.describe_quorum),                     # Describe Cluster
    57: Entry(0, 2, cluster.update_features),                     # Alter Cluster
    60: Entry(0, 2, describing.describe_cluster),                 # nothing; Describe Cluster to be told operations
    61: Entry(0, 0, topics.describe_producers),                   # Read Topic
    65: Entry(0, 0, transactions.describe_transactions),          # Describe TransactionalId, Describe Topic
    66: Entry(0, 2, transactions.list_transactions),              # Describe TransactionalId for each
    68: Entry(0, 1, groups.consumer_group_heartbeat),             # Read Group, Describe Topic
    69: Entry(0, 1, groups.consumer_group_describe),              # Describe Group, Describe Topic
    74: Entry(0, 1, cluster.list_config_resources),               # DescribeConfigs Cluster
    75: Entry(0, 0, describing.describe_topic_partitions),        # Describe Topic
}
# fmt: on
