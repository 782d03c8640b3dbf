"""What changes in the cluster has a line in the log of whoever follows it."""

from __future__ import annotations

import logging

import pytest

from flowstream.broker.effects import Effect, Happened
from flowstream.broker.types import Instant
from flowstream.wire.batch import encode_batch
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from flowstream.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    ScramCredentialDeletion,
    ScramCredentialUpsertion,
)
from flowstream.wire.messages.create_acls import AclCreation, CreateAclsRequest
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_acls import DeleteAclsFilter, DeleteAclsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.machine import Machine
from tests.broker.server.serving import create_topic, served

SET, DELETE = 0, 1


class Followed(Machine):
    """Remembers what is told at level info."""

    def __init__(self, **settings: str) -> None:
        self.told: list[str] = []
        super().__init__(**settings)

    def carry_out(self, effects: list[Effect]) -> None:
        self.told += [each.text for each in effects if isinstance(each, Happened)]
        super().carry_out(effects)

    def news(self) -> list[str]:
        """What was told since the last time."""
        told, self.told = self.told, []
        return told


@pytest.fixture
def machine() -> Followed:
    made = Followed(super_users="User:ANONYMOUS")
    topic = CreatableTopic(name="t", num_partitions=2, replication_factor=1)
    made.news()
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    return made


def configured(machine: Followed, operation: int, value: str | None) -> None:
    config = AlterableConfig(name="retention.ms", config_operation=operation, value=value)
    resource = AlterConfigsResource(resource_type=2, resource_name="t", configs=(config,))
    machine.ask(IncrementalAlterConfigsRequest(resources=(resource,)), 1)


def test_topics_come_grow_and_go(machine: Followed) -> None:
    assert machine.news() == ["topic t is made, partitions: 2"]
    grown = CreatePartitionsTopic(name="t", count=5, assignments=None)
    machine.ask(CreatePartitionsRequest(topics=(grown,)), 3)
    assert machine.news() == ["topic t has 5 partitions now"]
    configured(machine, SET, "5000")
    configured(machine, SET, "5000")
    configured(machine, DELETE, None)
    assert machine.news() == [
        "topic 't': retention.ms is '5000'",
        "topic 't': retention.ms is back to its default",
    ]
    machine.ask(DeleteTopicsRequest(topic_names=("t",)), 5)
    assert machine.news()[0] == "topic t is deleted"


def test_a_refused_request_tells_nothing(machine: Followed) -> None:
    machine.news()
    configured(machine, SET, "nonsense")
    machine.ask(DeleteTopicsRequest(topic_names=("absent",)), 5)
    assert machine.news() == []


def test_X5_users_rules_and_quotas_without_their_secrets(machine: Followed) -> None:
    machine.news()
    made = ScramCredentialUpsertion(
        name="a\nb", mechanism=1, iterations=4096, salt=b"hidden", salted_password=b"hidden"
    )
    gone = ScramCredentialDeletion(name="a\nb", mechanism=1)
    machine.ask(AlterUserScramCredentialsRequest(upsertions=(made,)), 0)
    machine.ask(AlterUserScramCredentialsRequest(deletions=(gone,)), 0)
    ops = (OpData(key="producer_byte_rate", value=5.0),)
    entity = (EntityData(entity_type="user", entity_name=None),)
    machine.ask(AlterClientQuotasRequest(entries=(EntryData(entity=entity, ops=ops),)), 1)
    rule = AclCreation(
        resource_type=2, resource_name="t", resource_pattern_type=3, principal="User:x", host="*",
        operation=3, permission_type=3,
    )  # fmt: skip
    machine.ask(CreateAclsRequest(creations=(rule,)), 3)
    wanted = DeleteAclsFilter(
        resource_type_filter=2, resource_name_filter="t", pattern_type_filter=3,
        principal_filter=None, host_filter=None, operation=1, permission_type=1,
    )  # fmt: skip
    machine.ask(DeleteAclsRequest(filters=(wanted,)), 3)
    told = machine.news()
    assert told == [
        r"user 'a\nb' has a password for SCRAM-SHA-256",
        r"user 'a\nb' lost the password for SCRAM-SHA-256",
        "quota of user (default): producer_byte_rate is 5.0",
        "rule: allow 'User:x' read on literal topic 't' from '*'",
        "rule no longer: allow 'User:x' read on literal topic 't' from '*'",
    ]
    assert "hidden" not in str(told)


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        ("delete", "t-0: retention deletes below offset 4, "),
        ("compact", "t-0: compacted below offset 3, "),
    ],
)
def test_what_retention_and_compaction_did(policy: str, line: str) -> None:
    made = Followed(log_retention_check_interval_ms="1000", log_cleaner_backoff_ms="1000")
    wanted = {"cleanup.policy": policy, "segment.ms": "1000", "retention.ms": "1000"}
    configs = tuple(CreatableTopicConfig(name=k, value=v) for k, v in wanted.items())
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1, configs=configs)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    for _ in range(4):
        made.now = Instant(made.now + 2000)
        record = bytes(encode_batch([(made.now, b"k", b"v", ())]))
        assert made.produce("t", 0, record).error_code == 0
    made.news()
    made.wait(60_000)
    assert [each[: len(line)] for each in made.news() if each.startswith("t-0")][-1] == line


async def test_it_is_in_the_log_at_level_info(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flowstream.broker"):
        async with served() as broker:
            client = await broker.client()
            await create_topic(client)
            await client.close()
    lines = [each for each in caplog.records if "is made, partitions: " in each.getMessage()]
    assert [each.levelno for each in lines] == [logging.INFO]
