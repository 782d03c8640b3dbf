"""Configurations change while the broker runs: what takes effect, what holds, what is told."""

from __future__ import annotations

import random

import pytest

from flowstream.broker.config import SETTINGS, BrokerConfig
from flowstream.broker.effects import Effect, Notice
from flowstream.broker.metadata import alterations, topic_configs
from flowstream.broker.metadata.broker_configs import DYNAMIC
from flowstream.broker.types import TopicPartition
from flowstream.wire.batch import encode_batch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages import incremental_alter_configs
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.list_config_resources import ListConfigResourcesRequest
from tests.broker.machine import TIME, Machine, batch
from tests.broker.metadata.asking import (
    APPEND,
    BROKER,
    DELETE,
    GROUP,
    LOGGER,
    METRICS,
    OK,
    SET,
    SUBTRACT,
    TOPIC,
    alter,
    cluster,
    described,
    replace,
    resource,
)


def test_a_topics_configuration_takes_effect_at_once_and_survives_a_crash() -> None:
    for seed in range(4):
        made = cluster()
        made.rng.seed(seed)
        assert alter(made, TOPIC, "t", ("max.message.bytes", SET, "100")) == OK
        too_large = made.produce("t", 1, batch(b"x" * 200))
        assert too_large.error_code == ErrorCode.MESSAGE_TOO_LARGE
        made.crash()
        too_large = made.produce("t", 1, batch(b"x" * 200))
        assert too_large.error_code == ErrorCode.MESSAGE_TOO_LARGE
        assert alter(made, TOPIC, "t", ("max.message.bytes", DELETE, None)) == OK
        assert made.produce("t", 1, batch(b"x" * 200)).error_code == 0


def test_lists_grow_and_shrink_item_by_item() -> None:
    made = cluster()

    def policy() -> str:
        value: str = described(made, TOPIC, "t", "cleanup.policy")["cleanup.policy"][0]
        return value

    assert alter(made, TOPIC, "t", ("cleanup.policy", APPEND, "compact")) == OK
    assert policy() == "delete,compact"
    assert alter(made, TOPIC, "t", ("cleanup.policy", APPEND, "compact")) == OK
    assert policy() == "delete,compact"
    assert alter(made, TOPIC, "t", ("cleanup.policy", SUBTRACT, "delete")) == OK
    assert policy() == "compact"
    assert alter(made, TOPIC, "t", ("cleanup.policy", SET, "compact, delete")) == OK
    assert policy() == "compact,delete"
    throttled = "follower.replication.throttled.replicas"
    assert alter(made, TOPIC, "t", (throttled, APPEND, "1:0,1:0")) == OK
    assert described(made, TOPIC, "t", throttled)[throttled][0] == "1:0"


def test_X4_a_list_grows_as_far_as_its_record_carries_it() -> None:
    """Beyond that the record cannot be written, which stops the broker."""
    made = cluster()
    throttled = "leader.replication.throttled.replicas"
    half = ",".join(f"{partition}:0" for partition in range(3_000))
    other = ",".join(f"{partition}:0" for partition in range(3_000, 6_000))
    assert alter(made, TOPIC, "t", (throttled, APPEND, half)) == OK
    for validate in (True, False):
        assert alter(made, TOPIC, "t", (throttled, APPEND, other), validate=validate) == (
            ErrorCode.INVALID_CONFIG,
            "The configuration value cannot be added because it exceeds the maximum value size of"
            " 32767 bytes.",
        )
    assert described(made, TOPIC, "t", throttled)[throttled][0] == half


def test_X4_few_defaults_are_looked_up_for_each_topic_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of them, for each of two thousand topics of a request, held the loop for 0.25 s."""
    made = cluster()
    looked_up: list[str] = []
    default_text = topic_configs.default_text

    def counted(config: BrokerConfig, name: str) -> str:
        looked_up.append(name)
        return default_text(config, name)

    monkeypatch.setattr(topic_configs, "default_text", counted)
    assert alter(made, TOPIC, "t", ("retention.ms", SET, "1000"), validate=True) == OK
    assert len(looked_up) <= 3


def test_validate_only_answers_the_same_and_changes_nothing() -> None:
    made = cluster()
    assert alter(made, TOPIC, "t", ("retention.ms", SET, "1"), validate=True) == OK
    error, _ = alter(made, TOPIC, "t", ("retention.ms", SET, "x"), validate=True)
    assert error == ErrorCode.INVALID_CONFIG
    assert not made.cores.image.configs


def test_one_resource_refused_does_not_stop_the_others_and_none_comes_twice() -> None:
    made = cluster()
    good = resource(TOPIC, "t", ("retention.ms", SET, "7"))
    bad = resource(TOPIC, "nope", ("retention.ms", SET, "7"))
    Request = incremental_alter_configs.IncrementalAlterConfigsRequest
    answer = made.ask(Request(resources=(bad, good)), 0)
    assert [each.error_code for each in answer.responses] == [3, 0]
    assert made.cores.image.topic_configs("t") == {"retention.ms": "7"}
    twice = made.ask(Request(resources=(good, good)), 1)
    told = {(each.error_code, each.error_message) for each in twice.responses}
    assert told == {(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")}


@pytest.mark.parametrize("version", [0, 1, 2])
def test_alter_configs_puts_the_unnamed_back_to_their_defaults(version: int) -> None:
    made = cluster()
    assert replace(made, TOPIC, "t", version, retention_ms="5", segment_bytes="2000000") == OK
    assert replace(made, TOPIC, "t", version, retention_ms="6") == OK
    assert made.cores.image.topic_configs("t") == {"retention.ms": "6"}
    assert replace(made, TOPIC, "t", version) == OK
    assert made.cores.image.topic_configs("t") == {}
    assert replace(made, TOPIC, "t", version, retention_ms=None) == (
        ErrorCode.INVALID_REQUEST,
        "Null value not supported for : retention.ms",
    )
    assert replace(made, LOGGER, "0", version, kafka="DEBUG") == (
        ErrorCode.INVALID_REQUEST,
        "Unknown resource type 8",
    )


def test_a_brokers_settings_take_effect_without_a_restart_and_hold_after_one() -> None:
    made = cluster()
    partition = TopicPartition("t", 0)

    def kept_ms() -> int:
        return made.cores.logs.by_name[partition].config.retention_ms

    assert alter(made, BROKER, "", ("log.retention.ms", SET, "99")) == OK
    assert kept_ms() == 99
    assert alter(made, BROKER, "0", ("log.retention.ms", SET, "123456")) == OK
    assert kept_ms() == 123456
    made.crash()
    assert kept_ms() == 123456
    assert made.cores.config.log_retention_ms == 123456
    assert alter(made, TOPIC, "t", ("retention.ms", SET, "5")) == OK
    assert kept_ms() == 5
    assert alter(made, TOPIC, "t", ("retention.ms", DELETE, None)) == OK
    assert alter(made, BROKER, "0", ("log.retention.ms", DELETE, None)) == OK
    assert kept_ms() == 99
    assert replace(made, BROKER, "") == OK
    assert kept_ms() == 7 * 24 * 3_600_000
    assert made.cores.config == made.cores.given


def test_what_is_in_effect_after_a_crash_is_what_was_before() -> None:
    keys = {
        TOPIC: ("retention.ms", "segment.bytes", "max.message.bytes"),
        BROKER: ("log.retention.ms", "log.segment.bytes", "message.max.bytes"),
        GROUP: ("consumer.session.timeout.ms",),
    }
    names = {TOPIC: ("t", "__consumer_offsets"), BROKER: ("", "0"), GROUP: ("g", "h")}
    for seed in range(12):
        made, rng = cluster(), random.Random(seed)
        for _ in range(rng.randrange(1, 25)):
            kind = rng.choice((TOPIC, BROKER, GROUP))
            key, op = rng.choice(keys[kind]), rng.choice((SET, SET, DELETE))
            value = str(rng.randrange(1, 4_000_000)) if kind != GROUP else "50000"
            alter(made, kind, rng.choice(names[kind]), (key, op, value))

        def in_effect(made: Machine = made) -> object:
            cores = made.cores
            logs = {name: log.config for name, log in cores.logs.by_name.items()}
            return cores.image.configs, cores.config, logs

        before = in_effect()
        made.crash()
        assert in_effect() == before


def test_a_producers_memory_ends_when_the_setting_says_so() -> None:
    made = cluster(producer_id_expiration_ms="5000")
    log = made.cores.logs.by_name[TopicPartition("t", 0)]
    assert log.config.producer_expiration_ms == 5000
    assert alter(made, BROKER, "", ("producer.id.expiration.ms", SET, "7000")) == OK
    assert log.config.producer_expiration_ms == 7000


def test_a_new_topic_has_the_changed_defaults() -> None:
    made = cluster()
    alter(made, BROKER, "", ("message.max.bytes", SET, "100"))
    topic = CreatableTopic(name="new", num_partitions=1, replication_factor=1)
    (created,) = made.ask(CreateTopicsRequest(topics=(topic,)), 7).topics
    told = {each.name: (each.value, each.config_source) for each in created.configs}
    assert told["max.message.bytes"] == ("100", 3)
    assert made.produce("new", 0, batch(b"x" * 200)).error_code == ErrorCode.MESSAGE_TOO_LARGE


def test_sources_and_synonyms_stand_in_kafkas_order() -> None:
    made = cluster(log_roll_hours="3")
    alter(made, BROKER, "", ("log.retention.ms", SET, "99"), ("message.max.bytes", SET, "200"))
    alter(made, BROKER, "0", ("log.retention.ms", SET, "123456"))
    hours = ("log.retention.hours", "168", 5)
    retention = [("log.retention.ms", "123456", 2), ("log.retention.ms", "99", 3), hours]
    size = [("message.max.bytes", "200", 3), ("message.max.bytes", "1048588", 5)]
    own = described(made, BROKER, "0")
    assert own["log.retention.ms"] == ("123456", 2, True, retention)
    assert own["message.max.bytes"] == ("200", 3, True, size)
    assert own["log.retention.hours"] == ("168", 5, False, [hours])
    assert own["log.roll.ms"] == (None, 5, True, [])
    assert own["log.roll.hours"] == (
        "3",
        4,
        False,
        [("log.roll.hours", "3", 4), ("log.roll.hours", "168", 5)],
    )
    topic = described(made, TOPIC, "t", "retention.ms", "max.message.bytes", "segment.ms")
    assert topic["retention.ms"] == ("123456", 2, True, retention)
    assert topic["max.message.bytes"] == ("200", 3, True, size)
    assert topic["segment.ms"] == ("10800000", 5, True, [])
    alter(made, TOPIC, "t", ("retention.ms", SET, "7"))
    topic = described(made, TOPIC, "t", "retention.ms")
    assert topic["retention.ms"] == ("7", 1, True, [("retention.ms", "7", 1), *retention])
    assert described(made, BROKER, "") == {
        "log.retention.ms": ("99", 3, True, [("log.retention.ms", "99", 3)]),
        "message.max.bytes": ("200", 3, True, [("message.max.bytes", "200", 3)]),
    }


def test_a_groups_configuration_is_told_with_the_brokers_behind_it() -> None:
    made = cluster(group_consumer_heartbeat_interval_ms="6000")
    assert alter(made, GROUP, "g", ("consumer.session.timeout.ms", SET, "50000")) == OK
    made.crash()
    assert described(made, GROUP, "g") == {
        "consumer.assignment.interval.ms": (
            "1000",
            5,
            True,
            [("group.consumer.assignment.interval.ms", "1000", 5)],
        ),
        "consumer.heartbeat.interval.ms": (
            "6000",
            4,
            True,
            [
                ("group.consumer.heartbeat.interval.ms", "6000", 4),
                ("group.consumer.heartbeat.interval.ms", "5000", 5),
            ],
        ),
        "consumer.session.timeout.ms": (
            "50000",
            8,
            True,
            [
                ("consumer.session.timeout.ms", "50000", 8),
                ("group.consumer.session.timeout.ms", "45000", 5),
            ],
        ),
    }


def test_what_has_a_configuration_is_listed() -> None:
    made = cluster()
    alter(made, GROUP, "g", ("consumer.session.timeout.ms", SET, "50000"))

    def listed(*types: int) -> list[tuple[int, str]]:
        answer = made.ask(ListConfigResourcesRequest(resource_types=types), 1)
        assert answer.error_code == 0
        return [(each.resource_type, each.resource_name) for each in answer.config_resources]

    everything = [(TOPIC, "t"), (BROKER, "0"), (LOGGER, "0"), (GROUP, "g")]
    assert listed() == everything
    assert listed(GROUP, TOPIC, GROUP) == [(GROUP, "g"), (TOPIC, "t")]
    assert listed(METRICS) == []
    assert made.ask(ListConfigResourcesRequest(), 0).config_resources == ()
    unknown = made.ask(ListConfigResourcesRequest(resource_types=(3,)), 1)
    assert unknown.error_code == ErrorCode.UNSUPPORTED_VERSION


def test_a_topic_that_is_gone_leaves_no_configuration_to_its_successor() -> None:
    made = cluster()
    alter(made, TOPIC, "t", ("retention.ms", SET, "7"))
    made.ask(DeleteTopicsRequest(topic_names=("t",)), 5)
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    assert made.cores.image.topic_configs("t") == {}


def test_X3_one_request_changes_a_bounded_number_of_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alterations, "MAX_RECORDS", 1_000)
    made = cluster()
    many = tuple(
        resource(GROUP, f"g{n}", ("consumer.session.timeout.ms", SET, "50000"))
        for n in range(1_003)
    )
    answer = made.ask(incremental_alter_configs.IncrementalAlterConfigsRequest(resources=many), 1)
    errors = [each.error_code for each in answer.responses]
    assert errors == [0] * 1_000 + [ErrorCode.POLICY_VIOLATION] * 3
    assert len(made.cores.image.configs) == 1_000


def test_every_dynamic_setting_exists() -> None:
    assert set(SETTINGS) >= DYNAMIC


def test_segments_are_closed_earlier_by_a_share_of_the_jitter_each_by_another() -> None:
    made = Machine()
    configs = {"segment.ms": "10000", "segment.jitter.ms": "8000", "retention.ms": "-1"}
    told = tuple(CreatableTopicConfig(name=k, value=v) for k, v in configs.items())
    topic = CreatableTopic(name="j", num_partitions=20, replication_factor=1, configs=told)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    ages = set()
    for number in range(20):
        log = made.cores.logs.by_name[TopicPartition("j", number)]
        for age in range(0, 11_000, 500):
            record = bytes(encode_batch([(TIME + age, b"k", b"v", ())]))
            assert made.produce("j", number, record).error_code == 0
            if len(log.segments) == 2:
                break
        ages.add(age)
    assert min(ages) > 2_000
    assert max(ages) <= 10_500
    assert len(ages) > 5, "not all at once"


class Noticing(Machine):
    """Remembers what the broker's log is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__()

    def carry_out(self, effects: list[Effect]) -> None:
        self.said += [each.text for each in effects if isinstance(each, Notice)]
        super().carry_out(effects)


def test_a_setting_that_changes_nothing_is_not_taken_in_silence() -> None:
    made = Noticing()
    told = (CreatableTopicConfig(name="flush.ms", value="5"),)
    topic = CreatableTopic(name="n", num_partitions=1, replication_factor=1, configs=told)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    assert made.said == ["n: flush.ms changes nothing: this broker does without it"]
    ops = ("preallocate", SET, "true"), ("retention.ms", SET, "7")
    assert alter(made, TOPIC, "n", *ops) == OK
    assert alter(made, BROKER, "", ("log.flush.interval.ms", SET, "7")) == OK
    assert made.said[1:] == [
        "n: preallocate changes nothing: this broker does without it",
        "all brokers: log.flush.interval.ms changes nothing: this broker does without it",
    ]
