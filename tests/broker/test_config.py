"""Settings by Kafka's names: defaults, what is refused and how the refusal helps."""

from __future__ import annotations

import pytest

from flowstream.broker.config import SETTINGS, BrokerConfig, ConfigError, text_of


def test_defaults_are_kafkas_except_where_one_machine_wants_less() -> None:
    config = BrokerConfig.of({})
    assert config.num_partitions == 1
    assert config.message_max_bytes == 1_048_588
    assert config.offsets_topic_num_partitions == 4
    assert config.given == frozenset()


def test_given_settings_are_typed() -> None:
    config = BrokerConfig.of(
        {
            "auto.create.topics.enable": "FALSE",
            "num.partitions": "7",
            "log.cleanup.policy": "compact, delete",
            "log.cleaner.min.cleanable.ratio": "0.01",
        }
    )
    assert config.auto_create_topics_enable is False
    assert config.num_partitions == 7
    assert config.log_cleanup_policy == ("compact", "delete")
    assert config.log_cleaner_min_cleanable_ratio == 0.01
    assert "num.partitions" in config.given


def test_an_unknown_setting_names_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"'num.partition'; did you mean 'num.partitions'\?"):
        BrokerConfig.of({"num.partition": "1"})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("num.partitions", "0", "at least 1"),
        ("num.partitions", "many", "Not a number of type INT"),
        ("num.partitions", str(1 << 31), "Not a number of type INT"),
        ("auto.create.topics.enable", "yes", "either true or false"),
        ("compression.type", "rar", "must be one of"),
        ("log.cleanup.policy", "compact,keep", "must be one of"),
        ("log.segment.bytes", "1000", "at least 1048576"),
        ("log.cleaner.min.cleanable.ratio", "1.5", "no more than 1"),
        ("log.cleaner.min.cleanable.ratio", "nan", "type DOUBLE"),
    ],
)
def test_a_bad_value_names_key_value_and_what_is_allowed(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BrokerConfig.of({name: value})
    message = str(caught.value)
    assert name in message
    assert value in message
    assert says in message


def test_session_timeouts_must_fit_together() -> None:
    with pytest.raises(ConfigError, match=r"group\.min\.session\.timeout\.ms=9"):
        BrokerConfig.of({"group.min.session.timeout.ms": "9", "group.max.session.timeout.ms": "8"})


def test_times_resolve_from_the_finest_unit_given() -> None:
    assert BrokerConfig.of({}).retention_ms == 7 * 24 * 3_600_000
    assert BrokerConfig.of({"log.retention.minutes": "3"}).retention_ms == 180_000
    both = {"log.retention.minutes": "3", "log.retention.ms": "5"}
    assert BrokerConfig.of(both).retention_ms == 5
    assert BrokerConfig.of({"log.retention.hours": "-1"}).retention_ms == -1
    assert BrokerConfig.of({"log.roll.hours": "1"}).roll_ms == 3_600_000


def test_every_default_survives_its_own_text() -> None:
    for setting in SETTINGS.values():
        text = text_of(setting.default)
        if text is not None:
            assert setting.kind.parse(text) == setting.default, setting.name
            assert setting.doc
