"""Changes of configurations that are refused, in the words of a real Kafka 4.3.1."""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

import pytest

from flowstream.wire.error_codes import ErrorCode
from tests.broker.metadata.asking import (
    APPEND,
    BROKER,
    GROUP,
    LOGGER,
    METRICS,
    SET,
    SUBTRACT,
    TOPIC,
    Op,
    alter,
    cluster,
)


@pytest.mark.parametrize(
    ("kind", "name", "ops", "error", "says"),
    [
        (
            TOPIC,
            "t",
            [("no.such", SET, "1")],
            "INVALID_CONFIG",
            "Unknown topic config name: no.such",
        ),
        (
            TOPIC,
            "t",
            [("retention.ms", SET, "abc")],
            "INVALID_CONFIG",
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            TOPIC,
            "t",
            [("segment.bytes", SET, "5")],
            "INVALID_CONFIG",
            "Invalid value 5 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            TOPIC,
            "t",
            [("retention.ms", SET, None)],
            "INVALID_REQUEST",
            "Null value not supported for : retention.ms",
        ),
        (
            TOPIC,
            "t",
            [("retention.ms", APPEND, "1")],
            "INVALID_CONFIG",
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            TOPIC,
            "t",
            [("no.such", SUBTRACT, "1")],
            "INVALID_CONFIG",
            "Can't SUBTRACT to key no.such because its type is not LIST.",
        ),
        (
            TOPIC,
            "t",
            [("retention.ms", SET, "1"), ("retention.ms", SET, "2")],
            "INVALID_REQUEST",
            "Error due to duplicate config keys",
        ),
        (TOPIC, "t", [("retention.ms", 9, "1")], "INVALID_REQUEST", "Unknown operation type 9"),
        (
            TOPIC,
            "t",
            [("min.compaction.lag.ms", SET, "50"), ("max.compaction.lag.ms", SET, "5")],
            "INVALID_CONFIG",
            "conflict topic config setting min.compaction.lag.ms (50) > max.compaction.lag.ms (5)",
        ),
        (TOPIC, "nope", [], "UNKNOWN_TOPIC_OR_PARTITION", "The topic 'nope' does not exist."),
        (
            TOPIC,
            "a/b",
            [],
            "INVALID_TOPIC_EXCEPTION",
            "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (TOPIC, "", [], "INVALID_REQUEST", "Default topic resources are not allowed."),
        (3, "x", [], "INVALID_REQUEST", "Unknown resource type 3"),
        (BROKER, "77", [], "INVALID_REQUEST", "Unexpected broker id, expected 0, but received 77"),
        (BROKER, "x", [], "INVALID_REQUEST", "Node id must be an integer, but it is: x"),
        (
            BROKER,
            "0",
            [("num.partitions", SET, "3"), ("node.id", SET, "3")],
            "INVALID_REQUEST",
            "Cannot update these configs dynamically: [num.partitions, node.id]",
        ),
        (
            BROKER,
            "",
            [("log.retention.minutes", SET, "3")],
            "INVALID_REQUEST",
            "Cannot update these configs dynamically: [log.retention.minutes]",
        ),
        (
            BROKER,
            "0",
            [("no.such", SET, "3")],
            "INVALID_REQUEST",
            "Unknown broker config name: no.such",
        ),
        (
            BROKER,
            "0",
            [("log.segment.bytes", SET, "5")],
            "INVALID_REQUEST",
            "Invalid value 5 for configuration log.segment.bytes: Value must be at least 1048576",
        ),
        (
            BROKER,
            "0",
            [("log.retention.ms", SET, "0")],
            "INVALID_REQUEST",
            "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        (
            BROKER,
            "0",
            [("log.segment.bytes", APPEND, "5")],
            "INVALID_CONFIG",
            "Config value append is not allowed for config key: log.segment.bytes",
        ),
        (GROUP, "", [], "INVALID_REQUEST", "Default group resources are not allowed."),
        (
            GROUP,
            "g",
            [("share.session.timeout.ms", SET, "45000")],
            "INVALID_CONFIG",
            "Unknown group config name: share.session.timeout.ms",
        ),
        (
            GROUP,
            "g",
            [("consumer.session.timeout.ms", SET, "x")],
            "INVALID_CONFIG",
            "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT",
        ),
        (
            GROUP,
            "g",
            [("consumer.session.timeout.ms", SET, "5")],
            "INVALID_CONFIG",
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            GROUP,
            "g",
            [("consumer.heartbeat.interval.ms", SET, "60000")],
            "INVALID_CONFIG",
            "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        ),
        (
            METRICS,
            "m",
            [("interval.ms", SET, "5")],
            "INVALID_REQUEST",
            "Client metrics subscriptions are not supported: this broker takes no telemetry.",
        ),
        (LOGGER, "0", [("kafka", SET, "DEBUG")], "INVALID_CONFIG", "Logger kafka does not exist!"),
        (
            LOGGER,
            "0",
            [("kafka", APPEND, "DEBUG")],
            "INVALID_REQUEST",
            "APPEND operation is not allowed for the BROKER_LOGGER resource",
        ),
        (LOGGER, "9", [], "INVALID_REQUEST", "Unexpected node id. Expected 0, but received 9"),
    ],
)
def test_what_is_refused_changes_nothing_and_says_what_kafka_says(
    kind: int, name: str, ops: list[Op], error: str, says: str
) -> None:
    made = cluster()
    assert alter(made, kind, name, *ops) == (ErrorCode[error], says)
    assert not made.cores.image.configs
