"""Decide, write, apply: how a coordinator's decision becomes records in its log, state in memory
and, when durable, replies.

Lives here: the write path that all coordinators share, and what follows from metadata records (logs
come and go). It must not know any request. Handlers use `commit_group`, `commit_group_offsets`,
`commit_transaction`, `commit_metadata`, `prepare_logs`, `append_markers`, `ensure_internal_topic`
and `replies_when_durable`; nothing else writes coordinator records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from flowstream.broker.cores import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, Cores
from flowstream.broker.decision import Decision, EventSourced, Unwritable
from flowstream.broker.doors import Discard, Flush, Operation, Place, Replace
from flowstream.broker.effects import Effect, Happened, Reply, WhenDurable, Write
from flowstream.broker.groups.records import Record as GroupRecord
from flowstream.broker.log import checkpoints
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.names import PARTITION_METADATA
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.partition import create_log as create_partition_log
from flowstream.broker.metadata import broker_configs, controller
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.metadata.names import folded
from flowstream.broker.metadata.records import (
    ClientQuotaRecord,
    ConfigRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    RemoveTopicRecord,
)
from flowstream.broker.metadata.telling import told
from flowstream.broker.metadata.topic_configs import log_settings
from flowstream.broker.transactions.markers import Marker
from flowstream.broker.transactions.records import TransactionRecord
from flowstream.broker.types import Instant, ReplyTo, TopicPartition
from flowstream.errors import WireError
from flowstream.wire.hashing import coordinator_partition

R = TypeVar("R")

_Configs = dict[tuple[tuple[str, str], ...], LogConfig]
"""The log settings that were made already, by what their topics set themselves."""


class Producer(NamedTuple):
    """In whose transaction offsets are committed (TxnOffsetCommit)."""

    producer_id: int
    producer_epoch: int


def replies_when_durable(replies: Iterable[tuple[ReplyTo, object]]) -> list[Effect]:
    """Replies that leave once all that they may tell of is durable; at once when nothing is
    pending.
    """
    ready: list[Effect] = [Reply(to, body) for to, body in replies]
    return [WhenDurable(lambda now: ready)] if ready else []


def group_partition(cores: Cores, group_id: str) -> TopicPartition:
    """The partition of `__consumer_offsets` that keeps a group; the topic must exist."""
    count = cores.logs.partitions[OFFSETS_TOPIC]
    return TopicPartition(OFFSETS_TOPIC, coordinator_partition(group_id, count))


def transaction_partition(cores: Cores, transactional_id: str) -> TopicPartition:
    """The partition of `__transaction_state` that keeps an id; the topic must exist."""
    count = cores.logs.partitions[TRANSACTIONS_TOPIC]
    return TopicPartition(TRANSACTIONS_TOPIC, coordinator_partition(transactional_id, count))


def commit_group(
    cores: Cores, group_id: str, decision: Decision[GroupRecord], now: Instant
) -> list[Effect]:
    """Carry out a decision about one group: `GroupCoordinator.apply(record)` for each record, in
    this turn.
    """
    if not decision.records:
        return replies_when_durable(decision.replies)
    effects = ensure_internal_topic(cores, OFFSETS_TOPIC, now)
    log = cores.logs.by_name[group_partition(cores, group_id)]
    effects += _append(cores.groups, log, decision, now, None)
    for record in decision.records:
        cores.groups.apply(record)
    return effects + replies_when_durable(decision.replies)


def commit_group_offsets(
    cores: Cores,
    group_id: str,
    decision: Decision[GroupRecord],
    producer: Producer,
    now: Instant,
) -> list[Effect]:
    """Carry out a TxnOffsetCommit: a transactional batch, pending until its marker
    (`apply_transactional`).
    """
    if not decision.records:
        return replies_when_durable(decision.replies)
    effects = ensure_internal_topic(cores, OFFSETS_TOPIC, now)
    log = cores.logs.by_name[group_partition(cores, group_id)]
    effects += _append(cores.groups, log, decision, now, producer)
    for record in decision.records:
        cores.groups.apply_transactional(producer.producer_id, record, log.name.partition)
    return effects + replies_when_durable(decision.replies)


def commit_transaction(
    cores: Cores, transactional_id: str, decision: Decision[TransactionRecord], now: Instant
) -> list[Effect]:
    """Carry out a decision about one transactional id."""
    if not decision.records:
        return replies_when_durable(decision.replies)
    effects = ensure_internal_topic(cores, TRANSACTIONS_TOPIC, now)
    log = cores.logs.by_name[transaction_partition(cores, transactional_id)]
    effects += _append(cores.transactions, log, decision, now, None)
    for record in decision.records:
        cores.transactions.apply(record)
    return effects + replies_when_durable(decision.replies)


def commit_metadata(cores: Cores, decision: Decision[MetadataRecord], now: Instant) -> list[Effect]:
    """Carry out a decision about topics, configs, features or producer ids, and create or delete
    the logs it names.
    """
    effects: list[Effect] = []
    if decision.records:
        happened: list[Effect] = [Happened(line) for line in told(cores.image, decision.records)]
        appended = _append(cores.image, cores.metadata_log, decision, now, None)
        made, followed = _follow(cores, decision.records, now)
        # The directories first: a crash in between may leave empty ones of no topic, never a topic
        # with the directories of the one before it that had its name.
        effects += [Write(made)] if made else []
        effects += appended + followed
        effects += _reconfigure(cores, decision.records)
        if happened:
            effects.append(WhenDurable(lambda now: happened))
    return effects + replies_when_durable(decision.replies)


def append_markers(cores: Cores, markers: Iterable[Marker], now: Instant) -> list[Effect]:
    """Write the control batches of decided transactions; offsets pending in a group are settled at
    once.

    A partition that was deleted meanwhile needs no marker. The caller adds a WhenDurable for what
    follows (T7).
    """
    effects: list[Effect] = []
    for marker in markers:
        log = cores.logs.by_name.get(marker.partition)
        if log is None:
            continue
        appended = log.append_marker(
            marker.producer_id, marker.producer_epoch, marker.commit, marker.coordinator_epoch, now
        )
        effects += appended.effects
        if marker.partition.topic == OFFSETS_TOPIC:
            cores.groups.apply_marker(
                marker.producer_id,
                marker.producer_epoch,
                marker.commit,
                marker.partition.partition,
            )
    return effects


def ensure_internal_topic(cores: Cores, topic: str, now: Instant) -> list[Effect]:
    """Create `__consumer_offsets` or `__transaction_state` when first needed, as Kafka does."""
    if topic in cores.logs.partitions:
        return []
    records = controller.internal_topic(cores.image, cores.config, topic, cores.rng)
    return commit_metadata(cores, Decision(records=records), now)


def _log_config(cores: Cores, topic: str, known: _Configs) -> LogConfig:
    """The log settings of a topic: the broker's defaults under the topic's own. Those are the same
    for most topics, or none.
    """
    own = cores.image.topic_configs(topic)
    key = tuple(own.items())
    if key not in known:
        known[key] = LogConfig.of(log_settings(cores.config, own))
    return known[key]


def log_starts(cores: Cores) -> dict[TopicPartition, int]:
    """The log starts that DeleteRecords moved: no file name tells them."""
    return {
        log.name: log.log_start
        for log in cores.logs.by_name.values()
        if log.log_start > log.segments[0].base_offset
    }


def checkpoint_log_starts(cores: Cores) -> list[Effect]:
    """Put `log_starts` on disk, so that deleted records stay deleted after a crash (L8)."""
    return [Write(replace_log_starts(cores))]


def replace_log_starts(cores: Cores) -> list[Operation]:
    """The operations that do so."""
    content = checkpoints.encode_offsets(log_starts(cores))
    epoch = cores.image.broker_epoch(cores.address.node_id)
    return checkpoints.replace_guarded(checkpoints.LOG_START, content, epoch)


def _append(
    core: EventSourced[R],
    log: PartitionLog,
    decision: Decision[R],
    now: Instant,
    producer: Producer | None,
) -> list[Effect]:
    try:
        pairs = [core.encode(record) for record in decision.records]
        return log.append_records(pairs, now, producer=producer).effects
    except WireError as error:
        raise Unwritable(log.name, decision.records, error) from error


def _follow(
    cores: Cores, records: Sequence[MetadataRecord], now: Instant
) -> tuple[list[Operation], list[Effect]]:
    """Apply metadata records, and let the logs follow the image: what comes before the records,
    for those that come and those that go, and what else follows. Topics that go, go together: what
    is written without them is written once.
    """
    made: list[Operation] = []
    effects: list[Effect] = []
    gone = [each.topic_id for each in records if isinstance(each, RemoveTopicRecord)]
    if gone:
        made.append(_identify(cores, gone))
        effects += _delete_logs(cores, gone, now)
    configs: _Configs = {}
    for record in records:
        cores.image.apply(record)
        if isinstance(record, PartitionRecord):
            made += _create_log(cores, record, configs, now)
        elif isinstance(record, PartitionChangeRecord):
            effects += lead(cores, record.topic_id, record.partition_id)
    if gone or any(isinstance(each, PartitionRecord) for each in records):
        cores.groups.metadata_changed(cores.metadata_log.log_end)
    return made, effects


def _create_log(
    cores: Cores, record: PartitionRecord, configs: _Configs, now: Instant
) -> list[Operation]:
    """Make the log of a new partition; what makes its directory."""
    topic = cores.image.topics_by_id[record.topic_id].name
    name = TopicPartition(topic, record.partition_id)
    if name in cores.logs.by_name:
        return []
    config = _log_config(cores, topic, configs)
    prepared = cores.logs.prepared.pop((record.topic_id, record.partition_id), None)
    if prepared is not None:
        prepared.config = config
        cores.logs.add(prepared)
        return []
    log, operations = create_partition_log(cores.storage, name, record.topic_id, config, now)
    cores.logs.add(log)
    return operations


def prepare_logs(
    cores: Cores,
    topic: str,
    records: Iterable[PartitionRecord],
    settings: Mapping[str, str],
    now: Instant,
) -> list[Effect]:
    """Make the logs of partitions whose records come later, in a topic with these settings: the
    disk has them then, and it takes no more than the records. A crash before leaves empty
    directories of no topic.
    """
    config = LogConfig.of(log_settings(cores.config, settings))
    operations: list[Operation] = []
    for each in records:
        name = TopicPartition(topic, each.partition_id)
        log, made = create_partition_log(cores.storage, name, each.topic_id, config, now)
        cores.logs.prepared[each.topic_id, each.partition_id] = log
        operations += made
    return [Write(operations)]


def lead(cores: Cores, topic_id: bytes, partition: int) -> list[Effect]:
    """Let a log write under the leader epoch that the image says."""
    log = cores.logs.by_id[topic_id, partition]
    epoch = cores.image.topics_by_id[topic_id].partitions[partition].leader_epoch
    # A crash may have left an empty log that does not know its first epoch.
    unknown = not log.epochs.entries and log.log_end == log.log_start
    operations = log.lead(epoch) if unknown or epoch > log.leader_epoch else []
    return [Write(operations)] if operations else []


def _reconfigure(cores: Cores, records: Sequence[MetadataRecord]) -> list[Effect]:
    """Let the configurations and quotas that `records` changed take effect."""
    if any(isinstance(record, ClientQuotaRecord) for record in records):
        cores.quotas.follow(cores.image.quotas)
    changed = dict.fromkeys(
        (record.resource_type, record.resource_name)
        for record in records
        if isinstance(record, ConfigRecord)
    )
    topics: Iterable[str] = [name for type, name in changed if type == ResourceType.TOPIC]
    if any(type == ResourceType.BROKER for type, _ in changed):
        cores.config = broker_configs.effective(cores.given, cores.image)
        topics = cores.image.topics
    operations: list[Operation] = []
    configs: _Configs = {}
    for topic in topics:
        operations += _configure_logs(cores, topic, configs)
    return [Write(operations)] if operations else []


def _configure_logs(cores: Cores, topic: str, configs: _Configs) -> list[Operation]:
    """Give the logs their new settings. What becomes compacted is flushed: from here on recovery
    takes what is missing in a closed segment for compacted away.
    """
    config = _log_config(cores, topic, configs)
    operations: list[Operation] = []
    for partition in range(cores.logs.partitions.get(topic, 0)):
        log = cores.logs.by_name[TopicPartition(topic, partition)]
        if config.compact and not log.gaps:
            operations += [Flush(path) for path in log.unsynced_paths()]
        log.config = config
    return operations


def _forget_checkpoints(cores: Cores) -> list[Operation]:
    """Write the checkpoints without the logs that are gone: they name partitions by topic name, and
    a new topic of that name would take the points for its own (L2).
    """
    logs = (cores.metadata_log, *cores.logs.by_name.values())
    recovery = checkpoints.encode_offsets({log.name: log.recovery_point for log in logs})
    cores.checkpointed[checkpoints.RECOVERY_POINT] = recovery
    return [
        Replace(checkpoints.RECOVERY_POINT, recovery),
        *replace_log_starts(cores),
        *cores.upkeep.checkpoint(),
    ]


def _identify(cores: Cores, topic_ids: Sequence[bytes]) -> Operation:
    """Let the directories of topics that go say whose they are: a start after a crash between their
    removal and the end of their names would keep them aside, as those of nobody, for ever.
    """
    logs = cores.logs.by_id
    return Place(
        [
            f"{logs[topic_id, number].directory}/{PARTITION_METADATA}"
            for topic_id in topic_ids
            for number in cores.image.topics_by_id[topic_id].partitions
        ]
    )


def _delete_logs(cores: Cores, topic_ids: Sequence[bytes], now: Instant) -> list[Effect]:
    """Take topics' logs out of service. The removal is on disk first: a directory that is gone
    while the topic still exists would be taken for an empty partition.
    """
    operations: list[Operation] = [Flush(path) for path in cores.metadata_log.unsynced_paths()]
    names: list[TopicPartition] = []
    for topic_id in topic_ids:
        topic = cores.image.topics_by_id[topic_id]
        for number in topic.partitions:
            name = TopicPartition(topic.name, number)
            # Without the name, which alone may fill what a file system allows.
            target = f"{topic_id.hex()}-{number}-delete"
            operations.append(Discard(cores.logs.remove(name).directory, target))
            names.append(name)
    operations += _forget_checkpoints(cores)
    effects: list[Effect] = [Write(operations)]
    for group_id, decision in cores.groups.partitions_deleted(names):
        effects += commit_group(cores, group_id, decision, now)
    moved = cores.waiting.moved
    topics = dict.fromkeys(folded(name.topic) for name in names)
    cores.changing.update((topic, []) for topic in topics)
    return [
        *effects,
        WhenDurable(lambda now: moved(names, now)),
        WhenDurable(lambda now: free_names(cores, topics, now)),
    ]


def free_names(cores: Cores, topics: Iterable[str], now: Instant) -> list[Effect]:
    """What waits for topics of these names, by their folded names, goes on. Whoever makes one while
    the deletion of the one before is being written would wait for the disk in the loop.
    """
    effects: list[Effect] = []
    for topic in topics:
        for go_on in cores.changing.pop(topic):
            effects += go_on(now)
    return effects
