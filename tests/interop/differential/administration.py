"""Requests about settings, quotas, permissions and the cluster."""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.interop.differential.asking import Client
from tests.interop.differential.topics import create

TOPIC, BROKER, LOGGER, GROUP, CLIENT_METRICS = 2, 4, 8, 32, 16
SET, DELETE, APPEND, SUBTRACT = range(4)


def describing_configs(c: Client) -> None:
    create(c, "ac", configs={"retention.ms": "1000"})
    for version in range(1, 5):
        for kind, name in (
            (TOPIC, "ac"), (TOPIC, "absent"), (TOPIC, ""), (TOPIC, "a b"), (BROKER, "9"), (BROKER, "x"),
            (BROKER, ""), (GROUP, "g"), (GROUP, ""), (0, "x"), (1, "x"), (3, "x"), (99, "x"), (CLIENT_METRICS, "m"),
        ):  # fmt: skip
            keys: list[str]
            for keys in (["retention.ms", "no.such"], []):
                one = {"resource_type": kind, "resource_name": name, "configuration_keys": keys}
                c.ask(32, {"resources": [one], "include_synonyms": True}, version)
        one = {
            "resource_type": BROKER,
            "resource_name": "1",
            "configuration_keys": ["log.retention.ms", "message.max.bytes"],
        }
        c.ask(32, {"resources": [one], "include_synonyms": True}, version)
        same = {
            "resource_type": TOPIC,
            "resource_name": "ac",
            "configuration_keys": ["retention.ms"],
        }
        c.ask(32, {"resources": [same, same]}, version)
        c.ask(32, {"resources": []}, version)


RESOURCES = (
    (TOPIC, "al"), (TOPIC, "absent"), (TOPIC, ""), (TOPIC, "a b"), (BROKER, "1"), (BROKER, "9"), (BROKER, "x"),
    (BROKER, ""), (GROUP, "g"), (GROUP, ""), (0, "x"), (1, "x"), (3, "x"), (99, "x"),
)  # fmt: skip


def altering_configs(c: Client) -> None:
    create(c, "al", "am")

    def resource(kind: int, name: str, *configs: dict[str, Any]) -> dict[str, Any]:
        return {"resource_type": kind, "resource_name": name, "configs": list(configs)}

    values = (
        ("retention.ms", "5"), ("retention.ms", "x"), ("retention.ms", None), ("retention.ms", ""), ("no.such", "1"),
        ("cleanup.policy", "compact"), ("cleanup.policy", "x"), ("log.retention.ms", "7"), ("message.max.bytes", "-1"),
        ("node.id", "3"), ("consumer.session.timeout.ms", "50000"), ("consumer.session.timeout.ms", "1"), ("", "1"),
    )  # fmt: skip
    for version in (0, 1):
        for kind, name in RESOURCES:
            for key, value in values:
                for only in (True, False):
                    if (kind, name) == (BROKER, "") and not only:
                        continue
                    one = resource(
                        kind, name, {"name": key, "value": value, "config_operation": SET}
                    )
                    c.ask(44, {"resources": [one], "validate_only": only}, version)
        for operation in (DELETE, APPEND, SUBTRACT, 4, -1):
            for key, value in (
                ("retention.ms", None),
                ("retention.ms", "5"),
                ("cleanup.policy", "delete"),
                ("cleanup.policy", None),
                ("no.such", "x"),
            ):
                one = resource(
                    TOPIC, "al", {"name": key, "value": value, "config_operation": operation}
                )
                c.ask(44, {"resources": [one]}, version)
        each = {"name": "retention.ms", "value": "5", "config_operation": SET}
        c.ask(44, {"resources": [resource(TOPIC, "al", each, each)]}, version, "a key twice")
        c.ask(44, {"resources": [resource(TOPIC, "al", each)] * 2}, version, "a topic twice")
        c.ask(44, {"resources": [resource(TOPIC, "al")]}, version)
        c.ask(44, {"resources": []}, version)
    for version in range(3):
        for kind, name in RESOURCES:
            for key, value in values:
                one = resource(kind, name, {"name": key, "value": value})
                c.ask(33, {"resources": [one], "validate_only": True}, version)
        one = resource(TOPIC, "am", {"name": "retention.ms", "value": "5"})
        c.ask(33, {"resources": [one]}, version)
        c.ask(33, {"resources": [resource(TOPIC, "am")]}, version)
        c.ask(33, {"resources": []}, version)
    for kinds in ([], [TOPIC], [GROUP], [BROKER], [CLIENT_METRICS], [99], [0]):
        c.ask(74, {"resource_types": kinds}, 1, f"types {kinds}")


def quotas(c: Client) -> None:
    user = {"entity_type": "user", "entity_name": "u"}
    client = {"entity_type": "client-id", "entity_name": "c"}
    ip = {"entity_type": "ip", "entity_name": "127.0.0.9"}
    rate = {"key": "producer_byte_rate", "value": 1000.0, "remove": False}
    entries: tuple[tuple[list[dict[str, Any]], list[dict[str, Any]]], ...] = (
        ([user], [rate]), ([user, client], [rate]), ([client], [rate]), ([], [rate]), ([user, user], [rate]),
        ([{"entity_type": "x", "entity_name": "u"}], [rate]), ([{"entity_type": "user", "entity_name": None}], [rate]),
        ([{"entity_type": "user", "entity_name": ""}], [rate]), ([ip, user], [rate]), ([ip], [rate]),
        ([ip], [rate | {"key": "connection_creation_rate"}]), ([user], [rate | {"key": "connection_creation_rate"}]),
        ([user], []), ([user], [rate | {"key": "no_such"}]), ([user], [rate | {"key": "no_such", "remove": True}]),
        ([user], [rate | {"value": 0.0}]), ([user], [rate | {"value": -1.0}]), ([user], [rate | {"value": 1.5}]),
        ([user], [rate | {"value": float("nan")}]), ([user], [rate | {"value": 1e30}]), ([user], [rate, rate]),
        ([user], [rate | {"remove": True}]), ([user], [rate | {"remove": True}]),
        ([user], [rate | {"key": "controller_mutation_rate", "value": 1.5}]),
        ([user], [rate | {"key": "controller_mutation_rate", "value": 0.0}]),
        ([client], [rate | {"key": "controller_mutation_rate", "value": 100.0}]),
    )  # fmt: skip
    for version in (0, 1):
        for entity, ops in entries:
            for only in (True, False):
                c.ask(
                    49,
                    {"entries": [{"entity": entity, "ops": ops}], "validate_only": only},
                    version,
                )
        c.ask(49, {"entries": []}, version)

        def part(kind: str, how: int, what: str | None) -> dict[str, Any]:
            return {"entity_type": kind, "match_type": how, "match": what}

        for parts in (
            [], [part("user", 0, "u")], [part("user", 1, None)], [part("user", 2, None)], [part("user", 3, None)],
            [part("user", 0, None)], [part("user", 1, "u")], [part("", 2, None)], [part("x", 2, None)],
            [part("user", 2, None), part("client-id", 2, None)], [part("user", 2, None)] * 2, [part("ip", 2, None)],
            [part("ip", 2, None), part("user", 2, None)],
        ):  # fmt: skip
            for strict in (True, False):
                c.ask(48, {"components": parts, "strict": strict}, version)
    for entity, ops in entries:
        for each in ops:
            c.quietly(
                49,
                {"entries": [{"entity": entity, "ops": [each | {"remove": True, "value": 0.0}]}]},
                1,
            )


def permissions(c: Client) -> None:
    good = {
        "resource_type": 2, "resource_name": "pt", "resource_pattern_type": 3, "principal": "User:p", "host": "*",
        "operation": 3, "permission_type": 3,
    }  # fmt: skip
    bad: tuple[dict[str, Any], ...] = (
        {}, {}, {"resource_type": 0}, {"resource_type": 1}, {"resource_type": 99}, {"resource_name": ""},
        {"resource_pattern_type": 1}, {"resource_pattern_type": 2}, {"resource_pattern_type": 4}, {"resource_pattern_type": 9},
        {"principal": ""}, {"principal": "p"}, {"operation": 0}, {"operation": 1},
        {"operation": 9}, {"operation": 12}, {"operation": 99}, {"permission_type": 0}, {"permission_type": 1}, {"permission_type": 9},
        {"resource_type": 4, "resource_name": "x"}, {"resource_type": 4, "resource_name": "kafka-cluster", "operation": 8},
        {"resource_type": 3, "operation": 4}, {"resource_type": 5, "operation": 4}, {"resource_type": 6, "operation": 8},
        {"resource_type": 7, "resource_name": "User:x", "operation": 13}, {"resource_name": "*"},
    )  # fmt: skip
    for version in (1, 2, 3):
        for more in bad:
            c.ask(30, {"creations": [good | more]}, version, str(more))
        c.ask(30, {"creations": [good, good]}, version, "twice")
        c.ask(30, {"creations": []}, version)
        wanted = {
            "resource_type_filter": 2, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": None,
            "host_filter": None, "operation": 1, "permission_type": 1,
        }  # fmt: skip
        filters: tuple[dict[str, Any], ...] = (
            {}, {"resource_type_filter": 1}, {"resource_type_filter": 0}, {"resource_type_filter": 99}, {"resource_name_filter": "pt"},
            {"resource_name_filter": "pt", "pattern_type_filter": 2}, {"pattern_type_filter": 0}, {"pattern_type_filter": 9},
            {"principal_filter": "User:p"}, {"principal_filter": "x"}, {"host_filter": "*"}, {"host_filter": "1.2.3.4"},
            {"operation": 0}, {"operation": 3}, {"operation": 99}, {"permission_type": 0}, {"permission_type": 2}, {"permission_type": 9},
        )  # fmt: skip
        for more in filters:
            c.ask(29, wanted | more, version, str(more))
        for more in (*filters[2:], {}, {"resource_type_filter": 1}):
            c.ask(31, {"filters": [wanted | more]}, version, str(more))
        c.ask(31, {"filters": []}, version)


def users(c: Client) -> None:
    upsertion = {
        "name": "su",
        "mechanism": 1,
        "iterations": 4096,
        "salt": b"s" * 16,
        "salted_password": b"p" * 32,
    }
    for more in (
        {}, {}, {"name": ""}, {"mechanism": 0}, {"mechanism": 9}, {"iterations": 4095}, {"iterations": 16385},
        {"iterations": 0}, {"salt": b""}, {"salted_password": b""}, {"mechanism": 2},
    ):  # fmt: skip
        c.ask(51, {"upsertions": [upsertion | more], "deletions": []}, 0, str(sorted(more)))
    c.ask(51, {"upsertions": [upsertion] * 2, "deletions": []})
    c.ask(51, {"upsertions": [upsertion], "deletions": [{"name": "su", "mechanism": 1}]})
    c.ask(51, {"upsertions": [], "deletions": []})
    for wanted in (
        None,
        [],
        [{"name": "su"}],
        [{"name": "absent"}],
        [{"name": ""}],
        [{"name": "su"}] * 2,
    ):
        c.ask(50, {"users": wanted})
    for name, mechanism in (
        ("su", 1),
        ("su", 1),
        ("su", 2),
        ("absent", 1),
        ("", 1),
        ("su", 0),
        ("su", 9),
    ):
        c.ask(51, {"upsertions": [], "deletions": [{"name": name, "mechanism": mechanism}]})
    c.each(17, {"mechanism": "PLAIN"})
    c.each(36, {"auth_bytes": b"x"})


def cluster(c: Client) -> None:
    create(c, "cl", partitions=2)
    topics = [{"topic": "cl", "partitions": [0, 9]}, {"topic": "absent", "partitions": [0]}]
    for version in range(1, 6):
        for wanted in (topics, [], [{"topic": "cl", "partitions": []}]):
            c.ask(35, {"topics": wanted}, version)
    for version in range(3):
        for kind in (0, 1, 2, -1) if version else (0,):
            for some in (topics, [], [topics[0], topics[0]]):
                c.ask(
                    43,
                    {"topic_partitions": some, "timeout_ms": 5000}
                    | ({"election_type": kind} if kind else {}),
                    version,
                )

    def moved(replicas: list[int] | None, name: str = "cl", index: int = 0) -> dict[str, Any]:
        part = {"partition_index": index, "replicas": replicas}
        return {"timeout_ms": 5000, "topics": [{"name": name, "partitions": [part]}]}

    for version in (0, 1):
        for each in (
            moved([1]), moved(None), moved([]), moved([9]), moved([1, 1]), moved([1, 9]), moved([-1]), moved([1], "absent"),
            moved([1], index=9), moved([1], ""), {"timeout_ms": 1000, "topics": []},
        ):  # fmt: skip
            c.ask(45, each, version)
    c.ask(46, {"timeout_ms": 1000, "topics": None})
    c.ask(46, {"timeout_ms": 1000, "topics": [{"name": "cl", "partition_indexes": [0, 9]}]})
    for version in (1, 2):
        for path in ("/no/such", "relative"):
            c.ask(
                34,
                {"dirs": [{"path": path, "topics": [{"name": "cl", "partitions": [0, 9]}]}]},
                version,
            )
        c.ask(34, {"dirs": []}, version)


def features(c: Client) -> None:
    for version in range(3):
        for update in (
            {"feature": "no.such", "max_version_level": 1}, {"feature": "transaction.version", "max_version_level": 2},
            {"feature": "transaction.version", "max_version_level": 99}, {"feature": "transaction.version", "max_version_level": -1},
            {"feature": "transaction.version", "max_version_level": 1}, {"feature": "", "max_version_level": 1},
            {"feature": "metadata.version", "max_version_level": 1}, {"feature": "kraft.version", "max_version_level": 99},
        ):  # fmt: skip
            more = {"validate_only": True} if version else {}
            if not version and update["max_version_level"] in (1, 2):
                continue
            c.ask(
                57, {"timeout_ms": 5000, "feature_updates": [update], **more}, version, str(update)
            )
        c.ask(57, {"timeout_ms": 5000, "feature_updates": []}, version)
    for version in range(3):
        c.ask(
            55,
            {"topics": [{"topic_name": "absent", "partitions": [{"partition_index": 0}]}]},
            version,
        )
        c.ask(
            55,
            {
                "topics": [
                    {"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 1}]}
                ]
            },
            version,
        )
        c.ask(55, {"topics": []}, version)


STORIES: Iterable[Any] = (
    describing_configs,
    altering_configs,
    quotas,
    permissions,
    users,
    cluster,
    features,
)
