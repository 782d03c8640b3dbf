"""A node's beginning, its ticks and its end: what happens without a request.

Start: load the coordinators from their logs, finish what was prepared (T7), say that this broker
serves. Tick: timeouts of groups and transactions, retention, checkpoints. Stop: close every log so
that the next start trusts the files.
"""

from __future__ import annotations

from flowstream.broker import completion
from flowstream.broker.coordination import (
    checkpoint_log_starts,
    commit_group,
    commit_metadata,
    lead,
    replace_log_starts,
)
from flowstream.broker.cores import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, Address, Cores
from flowstream.broker.decision import Decision
from flowstream.broker.doors import Flush, Operation, Replace, Settle
from flowstream.broker.effects import Effect, WhenDurable, Write
from flowstream.broker.log import checkpoints
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.metadata import controller
from flowstream.broker.metadata.records import BrokerEndpoint, MetadataRecord
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import decode_control, decode_records, read_header

CHECKPOINT_MS = 60_000
"""How often recovery points are written while the broker runs, as in Kafka."""


def start(cores: Cores, now: Instant, records: tuple[MetadataRecord, ...] = ()) -> list[Effect]:
    """Fold the coordinators' logs, then begin to serve. `records` are written first: the users
    that a secured broker begins with.
    """
    load_groups(cores)
    load_transactions(cores)
    cores.groups.metadata_changed(cores.metadata_log.log_end)
    cores.groups.start(now)
    cores.checkpoint_at = Instant(now + CHECKPOINT_MS)
    cores.upkeep.start(cores.config, now)
    address = cores.address
    effects = commit_metadata(cores, Decision(records=controller.bootstrap(cores.image)), now)
    effects += commit_metadata(cores, Decision(records=records), now)
    registration = controller.register(
        cores.config,
        broker_epoch=cores.metadata_log.log_end,
        incarnation_id=controller.new_uuid(cores.rng),
        directory_id=address.directory_id,
        end_points=_end_points(address),
    )
    effects += commit_metadata(cores, Decision(records=registration), now)
    effects += checkpoint_log_starts(cores)  # its copy is of the epoch that begins here
    leaderless = controller.take_the_lead(cores.image, address.node_id)
    effects += commit_metadata(cores, Decision(records=leaderless), now)
    if leaderless:
        # No log may know of an epoch that the metadata lost.
        effects.append(Write([Flush(cores.metadata_log.active.path)]))
    for topic_id, partition in cores.logs.by_id:
        effects += lead(cores, topic_id, partition)
    return effects + completion.resume(cores, now)


def _end_points(address: Address) -> tuple[BrokerEndpoint, ...]:
    return tuple(
        BrokerEndpoint(name=name, host=each.host, port=each.port, security_protocol=each.protocol)
        for name, each in address.known().items()
    )


def load_groups(cores: Cores) -> None:
    """Fold `__consumer_offsets`: commits, group metadata, transactions with their markers."""
    groups = cores.groups
    for log in _logs_of(cores, OFFSETS_TOPIC):
        number = log.name.partition
        for batch in log.scan():
            header = read_header(batch)
            if not header.count:
                continue  # compaction took its records
            records = decode_records(batch)
            if header.is_control:
                marker = decode_control(records[0])
                groups.apply_marker(
                    header.producer_id, header.producer_epoch, marker.commit, number
                )
                continue
            for record in records:
                decoded = groups.decode(record.key, record.value)
                if decoded is None:
                    continue
                if header.is_transactional:
                    groups.apply_transactional(header.producer_id, decoded, number)
                else:
                    groups.apply(decoded)


def load_transactions(cores: Cores) -> None:
    """Fold `__transaction_state`."""
    for log in _logs_of(cores, TRANSACTIONS_TOPIC):
        for batch in log.scan():
            if read_header(batch).is_control:
                continue
            for record in decode_records(batch):
                decoded = cores.transactions.decode(record.key, record.value)
                if decoded is not None:
                    cores.transactions.apply(decoded)


def tick(cores: Cores, now: Instant) -> list[Effect]:
    """Everything whose time has come, but for waiting fetches."""
    effects: list[Effect] = []
    for group_id, decision in cores.groups.tick(now):
        effects += commit_group(cores, group_id, decision, now)
    effects += completion.tick(cores, now)
    effects += cores.upkeep.tick(cores.config, now)
    if cores.checkpoint_at is not None and cores.checkpoint_at <= now:
        cores.checkpoint_at = Instant(now + CHECKPOINT_MS)
        effects += _checkpoint(cores)
    return effects


def deadline(cores: Cores) -> Instant | None:
    """When `tick` is wanted next."""
    wanted = (
        cores.waiting.deadline(),
        cores.groups.deadline(),
        cores.transactions.deadline(),
        cores.upkeep.deadline(),
        cores.checkpoint_at,
    )
    return min((each for each in wanted if each is not None), default=None)


def stop(cores: Cores, now: Instant) -> list[Effect]:
    """Close every log; what says that they are closed comes when that is durable."""
    operations: list[Operation] = []
    for log in all_logs(cores):
        operations += log.close_clean(now, synced=cores.fsync)
    return [Write(operations), WhenDurable(lambda now: _stopped(cores))]


def _stopped(cores: Cores) -> list[Effect]:
    """The clean-shutdown mark comes last: Kafka may trust it, and knows of no journal."""
    operations = _checkpoints(cores)
    mark = checkpoints.encode_clean_shutdown(cores.image.broker_epoch(cores.address.node_id))
    operations += [Settle(), Replace(checkpoints.CLEAN_SHUTDOWN, mark)]
    return [Write(operations)]


def all_logs(cores: Cores) -> list[PartitionLog]:
    """Every log of this node, the metadata log too."""
    return [cores.metadata_log, *cores.logs.by_name.values()]


def _checkpoint(cores: Cores) -> list[Effect]:
    """Let recovery begin later. What is acknowledged is synced under durability `fsync` only."""
    if cores.fsync:
        for log in all_logs(cores):
            log.flushed(log.high_watermark)
    operations = _checkpoints(cores)
    return [Write(operations)] if operations else []


def _checkpoints(cores: Cores) -> list[Operation]:
    """Write the checkpoint files; those of offsets that did not move stand already."""
    logs = all_logs(cores)
    files = {
        checkpoints.RECOVERY_POINT: {log.name: log.recovery_point for log in logs},
        checkpoints.HIGH_WATERMARK: {log.name: log.high_watermark for log in logs},
    }
    operations = replace_log_starts(cores)  # DeleteRecords writes them at other times
    for path, offsets in files.items():
        content = checkpoints.encode_offsets(offsets)
        if cores.checkpointed.get(path) != content:
            cores.checkpointed[path] = content
            operations.append(Replace(path, content))
    return operations


def _logs_of(cores: Cores, topic: str) -> list[PartitionLog]:
    count = cores.logs.partitions.get(topic, 0)
    return [cores.logs.by_name[TopicPartition(topic, number)] for number in range(count)]
