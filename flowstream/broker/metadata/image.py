"""The image: what the cluster consists of, folded from metadata records.

`apply` is its only mutator, live and on replay. It must not know who makes the records or where
they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

from flowstream.broker.metadata.record_frames import MetadataError, decode_record, encode_record
from flowstream.broker.metadata.records import (
    AbortTransactionRecord,
    BeginTransactionRecord,
    BrokerRegistrationChangeRecord,
    ClearElrRecord,
    ClientQuotaRecord,
    ConfigRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    FenceBrokerRecord,
    MetadataRecord,
    NoOpRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
    RegisterControllerRecord,
    RemoveTopicRecord,
    TopicRecord,
    UnfenceBrokerRecord,
    UnregisterBrokerRecord,
)
from flowstream.broker.metadata.security_records import (
    AccessControlEntryRecord,
    RemoveAccessControlEntryRecord,
    RemoveUserScramCredentialRecord,
    UserScramCredentialRecord,
)
from flowstream.broker.security.acl import Acls, Rule
from flowstream.broker.security.credentials import Credential


class ResourceType(IntEnum):
    """What a configuration belongs to; Kafka's numbers."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a topic: who has it, who leads it and since when."""

    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    partition_epoch: int
    directories: tuple[bytes, ...] = ()
    removing_replicas: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    eligible_leader_replicas: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    leader_recovery_state: int = 0


@dataclass(slots=True)
class Topic:
    """One topic. Partitions are numbered from 0 without a gap."""

    name: str
    topic_id: bytes
    partitions: dict[int, Partition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Broker:
    """The latest registration of a broker and what has changed since."""

    registration: RegisterBrokerRecord
    fenced: bool
    in_controlled_shutdown: bool = False


_LEADER_UNCHANGED = -2


QuotaEntity = tuple[tuple[str, str | None], ...]
"""What a quota is for: (type, name) pairs sorted by type; the name None is the type's default."""


@dataclass(slots=True)
class Image:
    """The cluster's durable state. An EventSourced core: `image == fold(apply, records)`."""

    topics: dict[str, Topic] = field(default_factory=dict)
    topics_by_id: dict[bytes, Topic] = field(default_factory=dict)
    configs: dict[tuple[int, str], dict[str, str]] = field(default_factory=dict)
    features: dict[str, int] = field(default_factory=dict)
    brokers: dict[int, Broker] = field(default_factory=dict)
    controllers: dict[int, RegisterControllerRecord] = field(default_factory=dict)
    quotas: dict[QuotaEntity, dict[str, float]] = field(default_factory=dict)
    next_producer_id: int = 0
    acls: Acls = field(default_factory=Acls)
    credentials: dict[tuple[int, str], Credential] = field(default_factory=dict)
    """SCRAM credentials by mechanism and user."""
    open_transaction: list[MetadataRecord] | None = None

    def encode(self, record: MetadataRecord) -> tuple[bytes | None, bytes | None]:
        """Metadata records have no key."""
        return None, encode_record(record)

    def decode(self, key: bytes | None, value: bytes | None) -> MetadataRecord | None:
        """The inverse of `encode`. Raises MetadataError for what cannot be understood."""
        return None if value is None else decode_record(value)[0]

    def apply(self, record: MetadataRecord) -> None:
        """Let `record` take effect; inside a metadata transaction with the others at its end."""
        if isinstance(record, EndTransactionRecord | AbortTransactionRecord):
            held, self.open_transaction = self.open_transaction, None
            if held is None:
                raise MetadataError(f"{type(record).__name__} outside a metadata transaction")
            if isinstance(record, EndTransactionRecord):
                for each in held:
                    self._take(each)
        elif isinstance(record, BeginTransactionRecord):
            if self.open_transaction is not None:
                raise MetadataError("metadata transaction inside another")
            self.open_transaction = []
        elif self.open_transaction is not None:
            self.open_transaction.append(record)
        else:
            self._take(record)

    def topic_configs(self, topic: str) -> dict[str, str]:
        """The configurations that `topic` itself sets; not to be changed."""
        return self.configs.get((ResourceType.TOPIC, topic), {})

    def visible_brokers(self) -> Iterator[tuple[int, Broker]]:
        """The brokers that clients may use, by id."""
        return ((id, broker) for id, broker in sorted(self.brokers.items()) if not broker.fenced)

    def broker_epoch(self, id: int) -> int:
        """The offset of a broker's last registration; -1 where it has none."""
        broker = self.brokers.get(id)
        return -1 if broker is None else broker.registration.broker_epoch

    def _take(self, record: MetadataRecord) -> None:
        match record:
            case TopicRecord():
                topic = Topic(record.name, record.topic_id)
                self.topics[record.name] = self.topics_by_id[record.topic_id] = topic
            case PartitionRecord():
                self._topic(record.topic_id).partitions[record.partition_id] = _partition(record)
            case PartitionChangeRecord():
                partitions = self._topic(record.topic_id).partitions
                partitions[record.partition_id] = _changed(partitions[record.partition_id], record)
            case RemoveTopicRecord():
                topic = self._topic(record.topic_id)
                del self.topics[topic.name], self.topics_by_id[topic.topic_id]
                self.configs.pop((ResourceType.TOPIC, topic.name), None)
            case ConfigRecord():
                self._configure(record)
            case FeatureLevelRecord():
                self.features[record.name] = record.feature_level
                if record.feature_level == 0:
                    del self.features[record.name]
            case ProducerIdsRecord():
                assert record.next_producer_id >= self.next_producer_id, "producer ids never repeat"
                self.next_producer_id = record.next_producer_id
            case ClientQuotaRecord():
                self._limit(record)
            case ClearElrRecord():
                self._clear_eligible_leaders(record.topic_name)
            case NoOpRecord():
                pass
            case _:
                self._take_registration(record)

    def _take_registration(self, record: MetadataRecord) -> None:
        match record:
            case RegisterBrokerRecord():
                down = record.in_controlled_shutdown
                self.brokers[record.broker_id] = Broker(record, record.fenced, down)
            case UnregisterBrokerRecord():
                self.brokers.pop(record.broker_id, None)
            case FenceBrokerRecord():
                self.brokers[record.id] = replace(self.brokers[record.id], fenced=True)
            case UnfenceBrokerRecord():
                self.brokers[record.id] = replace(self.brokers[record.id], fenced=False)
            case BrokerRegistrationChangeRecord():
                broker = self.brokers[record.broker_id]
                fenced = broker.fenced if record.fenced == 0 else record.fenced > 0
                down = broker.in_controlled_shutdown or record.in_controlled_shutdown > 0
                self.brokers[record.broker_id] = Broker(broker.registration, fenced, down)
            case RegisterControllerRecord():
                self.controllers[record.controller_id] = record
            case _:
                self._take_security(record)

    def _take_security(self, record: MetadataRecord) -> None:
        match record:
            case AccessControlEntryRecord():
                self.acls.add(record.id, rule_of(record))
            case RemoveAccessControlEntryRecord():
                if record.id not in self.acls.by_id:
                    raise MetadataError(f"access rule {record.id.hex()} is removed but unknown")
                self.acls.remove(record.id)
            case UserScramCredentialRecord():
                self.credentials[record.mechanism, record.name] = Credential(
                    record.salt, record.stored_key, record.server_key, record.iterations
                )
            case RemoveUserScramCredentialRecord():
                self.credentials.pop((record.mechanism, record.name), None)
            case _:
                raise MetadataError(f"{type(record).__name__} has no meaning here")

    def _topic(self, topic_id: bytes) -> Topic:
        topic = self.topics_by_id.get(topic_id)
        if topic is None:
            raise MetadataError(f"metadata record for topic id {topic_id.hex()}, which is unknown")
        return topic

    def _configure(self, record: ConfigRecord) -> None:
        resource = (record.resource_type, record.resource_name)
        configs = self.configs.setdefault(resource, {})
        if record.value is None:
            configs.pop(record.name, None)
        else:
            configs[record.name] = record.value
        if not configs:
            del self.configs[resource]

    def _limit(self, record: ClientQuotaRecord) -> None:
        entity = tuple(sorted((each.entity_type, each.entity_name) for each in record.entity))
        limits = self.quotas.setdefault(entity, {})
        if record.remove:
            limits.pop(record.key, None)
        else:
            limits[record.key] = record.value
        if not limits:
            del self.quotas[entity]

    def _clear_eligible_leaders(self, name: str) -> None:
        topics = [self.topics[name]] if name else list(self.topics.values())
        for topic in topics:
            for number, partition in topic.partitions.items():
                topic.partitions[number] = replace(
                    partition, eligible_leader_replicas=(), last_known_elr=()
                )


def _partition(record: PartitionRecord) -> Partition:
    return Partition(
        replicas=record.replicas,
        isr=record.isr,
        leader=record.leader,
        leader_epoch=record.leader_epoch,
        partition_epoch=record.partition_epoch,
        directories=record.directories,
        removing_replicas=record.removing_replicas,
        adding_replicas=record.adding_replicas,
        eligible_leader_replicas=record.eligible_leader_replicas or (),
        last_known_elr=record.last_known_elr or (),
        leader_recovery_state=record.leader_recovery_state,
    )


def rule_of(record: AccessControlEntryRecord) -> Rule:
    """The access rule that a record adds."""
    return Rule(
        record.resource_type,
        record.resource_name,
        record.pattern_type,
        record.principal,
        record.host,
        record.operation,
        record.permission_type,
    )


_CHANGEABLE = (
    "isr",
    "replicas",
    "removing_replicas",
    "adding_replicas",
    "directories",
    "eligible_leader_replicas",
    "last_known_elr",
)


def _changed(partition: Partition, record: PartitionChangeRecord) -> Partition:
    """A leader that is named, even the same one again, starts a new leader epoch."""
    given: dict[str, tuple[int, ...]] = {
        name: value for name in _CHANGEABLE if (value := getattr(record, name)) is not None
    }
    changed = replace(partition, partition_epoch=partition.partition_epoch + 1, **given)  # type: ignore[arg-type]
    if record.leader != _LEADER_UNCHANGED:
        changed = replace(changed, leader=record.leader, leader_epoch=partition.leader_epoch + 1)
    if record.leader_recovery_state >= 0:
        changed = replace(changed, leader_recovery_state=record.leader_recovery_state)
    return changed
