"""Where this broker answers otherwise than Apache Kafka 4.3.1, and why that stays.

Each entry: a pattern of `request :: place` and the reason. Whatever is not here is a defect.
"""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

import re

ACCEPTED = (
    (r"::.*configs\[\d+\]\.(config_source|synonyms)$", "Kafka gives every new cluster a setting of min.insync.replicas for its ELR (KIP-966)"),
    (r"DescribeConfigs .*resource_type=4 resource_name='' .*\.configs$", "the same setting, told"),
    (r"DescribeConfigs .*resource_type=32 .*\.configs$", "settings of share and streams groups are not served"),
    (r"DescribeConfigs .*resource_type=16 ", "telemetry is not served"),
    (r"Configs .*resource_type=4 resource_name='1?' .*error_code$", "a setting that nothing would read is refused, Kafka keeps it for plug-ins"),
    (r"Configs .*resource_name='absent' .*error_code$", "both are wrong: which error comes first"),
    (r"IncrementalAlterConfigs .*config_operation=(4|-1)\}.*error_code$", "Kafka fails inside (UNKNOWN_SERVER_ERROR)"),
    (r"ListConfigResources .*\.config_resources$", "the topics that the two brokers made by themselves differ"),
    (r"Metadata .*topic_id=zero", "Kafka fails inside (UNKNOWN_SERVER_ERROR)"),
    (r"DescribeTopicPartitions .*topic_authorized_operations$", "no operations are told of a topic that is not there"),
    (r"Produce short .*error_code$", "CORRUPT_MESSAGE, so that the client sends it again"),
    (r"Produce sequence 5000 0 0 .*log_append_time_ms$", "Kafka tells a duplicate's CreateTime as its append time"),
    (r"Produce .*partition_data=\[\]", "a topic without partitions is answered without partitions"),
    (r"(twice|\[(\{.*\}), \2\].*|\['(\w+)', '\3'\].*) ::", "what is asked twice is answered once, or the other way round"),
    (r"SyncGroup \{group_id='' .*error_code$", "both are wrong: which error comes first"),
    (r"ConsumerGroupHeartbeat .*(member_epoch|topic_partitions)$", "Kafka matches patterns and assigns in the background, here it is done in the turn"),
    (r"ListGroups .*group_state$", "the same: how far the group has come"),
    (r"AddPartitionsToTxn number 7 ", "a topic that is asked twice is answered twice"),
    (r"AlterConfigs .*resource_type=8 .*error_code$", "both are wrong: which error comes first"),
    (r"AlterPartitionReassignments .*\.responses$", "the error is told once, for the whole request; Kafka repeats it for each part"),
    (r"DescribeUserScramCredentials .*\.results$", "the same"),
    (r"WriteTxnMarkers .*topics=\[\]", "a marker for nothing is answered"),
    (r"(Create|Delete|Describe)Acls \{'\w+': (0|1|9|99)\}.*", "Kafka closes the connection, fails inside, or finds nothing under a number that means nothing"),
    (r"CreateAcls \{'resource_pattern_type': 2\}", "Kafka fails inside (UNKNOWN_SERVER_ERROR)"),
    (r"AlterClientQuotas .*value=nan ", "no client can keep to it"),
    (r"AlterUserScramCredentials \['salt(ed_password)?'\]", "without salt or password there is no credential; Kafka takes the one and fails at the other"),
    (r"DescribeLogDirs .*topic='absent' .*\.topics$", "Kafka tells of no partition when one of them is not there"),
    (r"^nothing left: ti -3 ", "Kafka tells of a record that is deleted"),
    (r"ElectLeaders .*topic_partitions=\[\] .*election_type=(2|-1)\}.*error_code$", "the type is wrong, whatever it is for"),
)  # fmt: skip


def is_accepted(place: str) -> bool:
    """Whether a difference at `request :: place` is known and stays."""
    of_all_versions = re.sub(r" v\d+ ", " ", place, count=1)
    return any(
        re.search(pattern, each) for pattern, _ in ACCEPTED for each in (place, of_all_versions)
    )
