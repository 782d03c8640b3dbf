"""What a user is told that may do a part of what it asks (X2). What begins with `m` is mostly its own,
what begins with `o` is others'.
"""

# ruff: noqa: E501 - tables read best with many entries on a line

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from flowstream.wire.acl_codes import Operation, PatternType, Permission, ResourceType
from flowstream.wire.fields import ZERO_UUID
from tests.interop.differential.asking import Client, brief
from tests.interop.differential.topics import NO_ID, batch, create, id_of

TOPIC, GROUP, CLUSTER, TRANSACTION = (
    ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER, ResourceType.TRANSACTIONAL_ID,
)  # fmt: skip
O = Operation  # noqa: E741 - short, and used on every line
DENY = Permission.DENY
PART = {"partition_index": 0}
C = "kafka-cluster"
TOPICS = ("mp-a", "mp-b", "op-a")
NAMES = (*TOPICS, "m-absent", "o-absent")
EVERY_RULE = {
    "resource_type_filter": 1, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": None,
    "host_filter": None, "operation": 1, "permission_type": 1,
}  # fmt: skip
Grant = tuple[Any, ...]
"""Type, name, operation; denied when it says so. Of prefixes unless it is all, or the cluster."""


def prepare(admin: Client) -> None:
    """Topics, groups with positions, transactional ids, by one who may do everything."""
    admin.begin()
    if id_of(admin, TOPICS[0]) != ZERO_UUID:
        return
    create(admin, *TOPICS)
    for group in ("mp-g", "op-g"):
        positions = [{"name": t, "partitions": [PART | {"committed_offset": 1}]} for t in TOPICS]
        committed = {"group_id": group, "generation_id_or_member_epoch": -1, "topics": positions}
        admin.until(lambda told=committed: not _error(admin.quietly(8, told, 8)))
    for name in ("mp-x", "op-x"):
        begun = {"transactional_id": name, "transaction_timeout_ms": 60_000}
        admin.until(lambda told=begun: not admin.quietly(22, told, 4).error_code)


def _joins(group: str, member: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "group_id": group, "member_id": member, "member_epoch": 0, "rebalance_timeout_ms": 60_000,
        "subscribed_topic_names": names, "topic_partitions": [],
    }  # fmt: skip


def _error(answer: Any) -> int:
    return max(p.error_code for t in answer.topics for p in t.partitions)


def rules(admin: Client, granted: tuple[Grant, ...]) -> None:
    """Let these hold alone."""
    admin.quietly(31, {"filters": [EVERY_RULE]}, 3)
    made = [
        {
            "resource_type": type,
            "resource_name": name,
            "resource_pattern_type": PatternType.LITERAL
            if type == CLUSTER or name == "*"
            else PatternType.PREFIXED,
            "principal": "User:nobody",
            "host": "*",
            "operation": operation,
            "permission_type": more[0] if more else Permission.ALLOW,
        }
        for type, name, operation, *more in granted
    ]
    if made:
        answer = admin.quietly(30, {"creations": made}, 3)
        assert not any(each.error_code for each in answer.results), answer

    def is_known() -> bool:
        told = admin.quietly(29, EVERY_RULE, 3)
        return sum(len(each.acls) for each in told.resources) == len(made)

    admin.until(is_known)


class Partly:
    """One user's requests under some rules."""

    _probes = itertools.count()

    def __init__(self, admin: Client, user: Client, granted: tuple[Grant, ...]) -> None:
        probe = f"probe-{next(self._probes)}"
        rules(admin, (*granted, (TOPIC, probe, O.CREATE)))
        # Kafka's controller hears of rules on a way of its own.
        topics = [{"name": probe, "num_partitions": 1, "replication_factor": 1}]
        trial = {"topics": topics, "timeout_ms": 5000, "validate_only": True}
        admin.until(lambda: user.quietly(19, trial, 5).topics[0].error_code == 0)
        self.admin, self.user = admin, user
        self.note = str([(name, operation.name, *more) for _, name, operation, *more in granted])
        self.ids = {name: id_of(admin, name) for name in TOPICS}
        for name, id in {**self.ids, "none": NO_ID}.items():
            user.call("topic_id", id, f"T-{name}")

    def ask(self, key: int, body: Mapping[str, Any], version: int | None = None) -> Any:
        """The answer is compared."""
        return self.user.ask(key, body, version, f"{self.note} {brief(body)[:200]}")

    def tell(self, what: str, value: object) -> None:
        """Compare this."""
        self.user.lines.append((f"{self.note} {what}", value))

    @property
    def by_id(self) -> list[bytes]:
        """The topics, and one that is not there."""
        return [*self.ids.values(), NO_ID]


def seeing(admin: Client, user: Client) -> None:
    for group, names in (("mp-c", TOPICS[:2]), ("mp-d", TOPICS), ("op-c", TOPICS)):
        joined = _joins(group, f"{group}-1", names)
        admin.until(lambda told=joined: not admin.quietly(68, told, 1).error_code)
    for granted in (
        ((TOPIC, "m", O.DESCRIBE), (GROUP, "m", O.DESCRIBE), (TRANSACTION, "m", O.DESCRIBE)),
        ((TOPIC, "*", O.READ), (TOPIC, "o", O.DESCRIBE, DENY), (GROUP, "*", O.READ), (GROUP, "o", O.READ, DENY)),
        ((TOPIC, "*", O.ALL), (TOPIC, "o", O.ALL, DENY), (CLUSTER, C, O.DESCRIBE), (GROUP, "*", O.ALL)),
        ((TOPIC, "m", O.ALTER_CONFIGS), (GROUP, "m", O.DELETE), (CLUSTER, C, O.ALTER), (TRANSACTION, "m", O.WRITE)),
    ):  # fmt: skip
        partly = Partly(admin, user, granted)
        for each in (_topics_are_seen, _groups_are_seen, _records_are_seen, _settings_are_seen):
            each(partly)


def _topics_are_seen(p: Partly) -> None:
    operations = {"include_topic_authorized_operations": True}
    for version in (1, 4, 8, 9, 10, 12, 13):
        p.ask(3, {"topics": [{"name": name} for name in NAMES]}, version)
        if version >= 8:
            p.ask(3, {"topics": [{"name": name} for name in TOPICS], **operations}, version)
        if version >= 12:
            by_id = [{"name": None, "topic_id": id} for id in p.by_id]
            p.ask(3, {"topics": by_id, **operations}, version)
    for names in (TOPICS, ("op-a",), ("op-a", "mp-a"), ("m-absent", "mp-a"), ("o-absent", "op-a")):
        topics = [{"name": name} for name in names]
        p.ask(75, {"topics": topics})
        for name in (*names, "mp-b"):
            p.ask(75, {"topics": topics, "cursor": {"topic_name": name, "partition_index": 0}})
    p.ask(60, {"include_cluster_authorized_operations": True}, 1)


def _groups_are_seen(p: Partly) -> None:
    some = [{"name": name, "partition_indexes": [0]} for name in NAMES]
    for group in ("mp-g", "op-g", "mp-absent"):
        for version in (1, 2, 5, 7):
            p.ask(9, {"group_id": group, "topics": some}, version)
            if version > 1:
                p.ask(9, {"group_id": group, "topics": None}, version)
    for version in (8, 9, 10):
        named = some
        if version == 10:
            named = [{"topic_id": id, "partition_indexes": [0]} for id in p.by_id]
        for told in (named, None):
            groups = [{"group_id": group, "topics": told} for group in ("mp-g", "op-g")]
            p.ask(9, {"groups": groups}, version)
    operations = {"include_authorized_operations": True}
    for version in (5, 6):
        p.ask(15, {"groups": ["mp-g", "op-g", "mp-absent"], **operations}, version)
    p.ask(69, {"group_ids": ["mp-c", "mp-d", "op-c", "mp-g"], **operations}, 1)
    groups = p.user.quietly(16, {}, 5).groups
    p.tell("groups", sorted(g.group_id for g in groups if g.group_id.startswith(("mp-", "op-"))))
    for version in (0, 3):
        for key in ("mp-g", "op-g"):
            p.ask(10, {"key": key}, version)
    for kind, names in ((0, ["mp-g", "op-g"]), (1, ["mp-x", "op-x"])):
        p.ask(10, {"coordinator_keys": names, "key_type": kind}, 4)


def _records_are_seen(p: Partly) -> None:
    wanted = [PART | {"timestamp": -1}]
    asked = [{"name": name, "partitions": wanted} for name in NAMES]
    p.ask(2, {"replica_id": -1, "topics": asked}, 7)
    epochs = [{"partition": 0, "leader_epoch": 0}]
    p.ask(23, {"replica_id": -1, "topics": [{"topic": n, "partitions": epochs} for n in NAMES]})
    parts = [{"partition": 0, "partition_max_bytes": 1000}]
    at_once = {"max_wait_ms": 0, "min_bytes": 1}
    p.ask(1, {**at_once, "topics": [{"topic": n, "partitions": parts} for n in NAMES]}, 12)
    p.ask(1, {**at_once, "topics": [{"topic_id": i, "partitions": parts} for i in p.by_id]}, 13)
    p.ask(61, {"topics": [{"name": name, "partition_indexes": [0]} for name in NAMES]})
    listed = p.user.quietly(66, {}, 2).transaction_states
    names = (each.transactional_id for each in listed)
    p.tell("transactions", sorted(name for name in names if name.startswith(("mp-", "op-"))))
    p.ask(65, {"transactional_ids": ["mp-x", "op-x", "mp-absent"]})


def _settings_are_seen(p: Partly) -> None:
    named = [(2, name, "retention.ms") for name in NAMES]
    named += [(32, name, "consumer.session.timeout.ms") for name in ("mp-g", "op-g")]
    resources = [
        {"resource_type": kind, "resource_name": name, "configuration_keys": [key]}
        for kind, name, key in (*named, (4, "1", "log.retention.ms"))
    ]
    p.ask(32, {"resources": resources})
    p.ask(29, EVERY_RULE | {"resource_type_filter": 6})


def writing(admin: Client, user: Client) -> None:
    for granted in (
        ((TOPIC, "m", O.WRITE),),
        ((TOPIC, "m", O.WRITE), (TRANSACTION, "m", O.WRITE)),
        ((TOPIC, "*", O.WRITE), (TOPIC, "o", O.WRITE, DENY), (TRANSACTION, "*", O.WRITE), (GROUP, "m", O.READ), (TOPIC, "mp-a", O.READ)),
        ((CLUSTER, C, O.IDEMPOTENT_WRITE),),
        ((TOPIC, "*", O.WRITE), (TOPIC, "*", O.WRITE, DENY)),
        ((TOPIC, "mp-a", O.WRITE), (TOPIC, "mp", O.WRITE, DENY)),
        ((TOPIC, "mp", O.WRITE), (TOPIC, "mp-", O.WRITE, DENY)),
    ):  # fmt: skip
        partly = Partly(admin, user, granted)
        _records_are_written(partly)
        for name in ("mp-x", "op-x", None):
            begun = {"transactional_id": name, "transaction_timeout_ms": 60_000}
            partly.tell(f"init {name}", user.quietly(22, begun, 4).error_code)
        for name in ("mp-x", "op-x"):
            _transactions_are_written(partly, name)


def _records_are_written(p: Partly) -> None:
    data = [{"index": 0, "records": batch(b"1")}]
    for names in (*((name,) for name in NAMES), NAMES):
        topics = [{"name": name, "partition_data": data} for name in names]
        answer = p.user.quietly(0, {"acks": -1, "timeout_ms": 1000, "topic_data": topics}, 9)
        found = {each.name: each.partition_responses[0].error_code for each in answer.responses}
        p.tell(f"produce {names}", sorted(found.items()))
    topics = [{"topic_id": id, "partition_data": data} for id in p.by_id]
    answer = p.user.quietly(0, {"acks": -1, "timeout_ms": 1000, "topic_data": topics}, 13)
    by_id = {each.topic_id: each.partition_responses[0].error_code for each in answer.responses}
    p.tell("produce by id", [by_id[id] for id in p.by_id])


def _transactions_are_written(p: Partly, name: str) -> None:
    begun = {"transactional_id": name, "transaction_timeout_ms": 60_000}
    answer = p.admin.quietly(22, begun, 4)
    ours = {
        "transactional_id": name,
        "producer_id": answer.producer_id,
        "producer_epoch": answer.producer_epoch,
    }
    for names in (("mp-a",), ("mp-a", "op-a"), ("mp-a", "m-absent"), ("op-a", "m-absent")):
        told: dict[str, Any] = {f"v3_and_below_{key}": value for key, value in ours.items()}
        told["v3_and_below_topics"] = [{"name": topic, "partitions": [0]} for topic in names]
        p.ask(24, told, 3)
    positions = [{"name": n, "partitions": [PART | {"committed_offset": 1}]} for n in NAMES]
    for group in ("mp-g", "op-g"):
        p.ask(25, ours | {"group_id": group}, 3)
        for version in (2, 4):
            of_nobody = {"group_id": group, "generation_id": -1, "member_id": ""}
            p.ask(28, ours | of_nobody | {"topics": positions}, version)
    p.ask(26, ours | {"committed": False}, 3)


def changing(admin: Client, user: Client) -> None:
    for number, granted in enumerate((
        ((TOPIC, "m", O.CREATE),),
        ((TOPIC, "m", O.CREATE), (TOPIC, "m", O.DESCRIBE_CONFIGS), (TOPIC, "m", O.DELETE)),
        ((CLUSTER, C, O.CREATE), (TOPIC, "m", O.DESCRIBE)),
        ((TOPIC, "m", O.ALTER), (TOPIC, "m", O.ALTER_CONFIGS), (GROUP, "m", O.ALTER_CONFIGS), (GROUP, "m", O.DELETE), (TOPIC, "mp-a", O.READ)),
        ((GROUP, "*", O.READ), (TOPIC, "mp-a", O.READ)),
        ((TOPIC, "*", O.DELETE), (TOPIC, "o", O.DESCRIBE, DENY)),
        ((TOPIC, "m", O.DELETE), (TOPIC, "o", O.DESCRIBE)),
    )):  # fmt: skip
        partly = Partly(admin, user, granted)
        _topics_are_made(partly, number)
        _settings_are_changed(partly)
        _groups_are_changed(partly)
        _topics_are_deleted(partly, number)


def _topics_are_made(p: Partly, number: int) -> None:
    for version in (2, 5, 7):
        names = (f"mc-{number}-{version}", f"oc-{number}-{version}", "mp-a", "op-a", "m/", "o/")
        topics = [{"name": n, "num_partitions": 1, "replication_factor": 1} for n in names]
        for only in (True, False) if version < 7 else (False,):
            made = {"topics": topics, "timeout_ms": 5000, "validate_only": only}
            answer = p.user.quietly(19, made, version)
            p.tell(
                f"create {version} {only}", sorted(_made(each, version) for each in answer.topics)
            )
    more = [{"name": name, "count": 1, "assignments": None} for name in NAMES]
    p.ask(37, {"topics": more, "timeout_ms": 1000})


def _made(topic: Any, version: int) -> tuple[Any, ...]:
    told = topic.name, topic.error_code
    if version < 5:
        return told
    shown = topic.num_partitions, topic.replication_factor, topic.topic_config_error_code
    return *told, *shown, topic.configs is None or len(topic.configs) > 0


def _settings_are_changed(p: Partly) -> None:
    named = [(2, name, "retention.ms", "1000000") for name in NAMES]
    named += [(32, name, "consumer.session.timeout.ms", "50000") for name in ("mp-g", "op-g")]
    named += [(4, name, "log.retention.ms", "1000000") for name in ("1", "")]
    resources = [
        {"resource_type": kind, "resource_name": name, "configs": [{"name": key, "value": value}]}
        for kind, name, key, value in named
    ]
    p.ask(44, {"resources": resources, "validate_only": True})


def _groups_are_changed(p: Partly) -> None:
    deleted = [{"name": name, "partitions": [PART | {"offset": 0}]} for name in NAMES]
    p.ask(21, {"topics": deleted, "timeout_ms": 1000})
    for group in ("mp-g", "op-g"):
        p.ask(47, {"group_id": group, "topics": [{"name": n, "partitions": [PART]} for n in NAMES]})
        position = [PART | {"committed_offset": 1}]
        told = {"group_id": group, "generation_id_or_member_epoch": -1}
        p.ask(8, told | {"topics": [{"name": n, "partitions": position} for n in NAMES]}, 8)
        again = told | {"topics": [{"name": n, "partitions": position} for n in TOPICS]}
        p.admin.until(lambda again=again: not _error(p.admin.quietly(8, again, 8)))
    for names in (("mp-a",), ("mp-a", "op-a"), ("op-a",), ("m-absent",), ("o-absent",)):
        for group in ("mp-n", "op-n"):
            joins = _joins(group, "n", names)
            p.tell(f"beat {group} {names}", p.user.quietly(68, joins, 1).error_code)
            p.admin.quietly(68, joins | {"member_epoch": -1}, 1)
    p.ask(42, {"groups_names": ["mp-n", "op-n", "m-absent"]})


def _topics_are_deleted(p: Partly, number: int) -> None:
    create(p.admin, *(f"{owner}-{kind}{number}" for owner in "mo" for kind in ("n", "i")))
    for version in (5, 6):
        names = (f"m-n{number}", f"o-n{number}", "m-absent", "o-absent")
        topics = [{"name": name} for name in names]
        by_name = {"topic_names": names} if version == 5 else {"topics": topics}
        p.ask(20, by_name | {"timeout_ms": 5000}, version)
    ids = [id_of(p.admin, f"{owner}-i{number}") for owner in "mo"]
    topics = [{"name": None, "topic_id": id} for id in (*ids, NO_ID, ZERO_UUID)]
    answer = p.user.quietly(20, {"topics": topics, "timeout_ms": 5000}, 6)
    p.tell("delete by id", sorted((each.name or "", each.error_code) for each in answer.responses))


STORIES: Iterable[Any] = (seeing, writing, changing)
