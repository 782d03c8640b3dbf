"""From a data directory to the cores of a node: whose directory it is, its topics, the recovery of
every log.

Reads through the storage door and hands every change to `perform` at once, so that a crash between
any two of them can be tried; opening again after it gives the same result (D5). It must not know
sockets or time.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.cores import METADATA_LOG, Address, Cores, Logs
from flowstream.broker.doors import (
    MakeDirectory,
    Operation,
    Random,
    Remove,
    Rename,
    Replace,
    Storage,
)
from flowstream.broker.fetch_sessions import FetchSessions
from flowstream.broker.groups.coordinator import GroupCoordinator
from flowstream.broker.log import checkpoints, journal
from flowstream.broker.log.beginnings import read_beginning
from flowstream.broker.log.checkpoints import MetaProperties
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.names import (
    SWAP,
    way_out,
)
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.state import NEVER_CLEANED
from flowstream.broker.log.swapping import finish_swaps
from flowstream.broker.metadata import broker_configs
from flowstream.broker.metadata.controller import new_uuid
from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.records import RemoveTopicRecord
from flowstream.broker.metadata.topic_configs import log_settings
from flowstream.broker.strays import put_away
from flowstream.broker.transactions.coordinator import TransactionCoordinator
from flowstream.broker.types import Instant, TopicPartition
from flowstream.broker.waiting import Waiting
from flowstream.errors import CorruptLog, FlowstreamError
from flowstream.wire.batch import decode_records, read_header

Perform = Callable[[Sequence[Operation]], object]

METADATA_TOPIC_ID = bytes(15) + b"\x01"
"""The reserved id of `__cluster_metadata` (KIP-516)."""


class ForeignDirectory(FlowstreamError):
    """The data directory belongs to another cluster or node, or to another program."""


class Opened(NamedTuple):
    """The node's cores, and what was noticed on the way."""

    cores: Cores
    report: list[str]


class _Points(NamedTuple):
    """What the last run recorded of every log."""

    clean: bool
    recovery: dict[TopicPartition, int]
    log_start: dict[TopicPartition, int]
    clean_end: dict[TopicPartition, int]
    synced: Mapping[str, int]
    """Sizes up to which the journal says that files were synced."""


def open_cores(
    storage: Storage,
    perform: Perform,
    config: BrokerConfig,
    rng: Random,
    now: Instant,
    *,
    host: str,
    fsync: bool = True,
) -> Opened:
    """Open the data directory, or start a new one in an empty directory. Raises FlowstreamError."""
    meta = _identify(storage, perform, config, rng)
    journalled = journal.replay(storage)
    perform(journalled.operations)
    report = journalled.report
    points = _points(storage, perform, journalled.synced, report)
    # The mark goes before anything changes: from here on a stop is unclean until it is written
    # again.
    if points.clean:
        # A removed name may come back after a power cut, a renamed one does not.
        used = checkpoints.CLEAN_SHUTDOWN + ".used"
        perform([Rename(checkpoints.CLEAN_SHUTDOWN, used), Remove(used)])
    settings = LogConfig(retention_ms=-1, retention_bytes=-1)
    metadata_log = _open(storage, perform, METADATA_LOG, METADATA_TOPIC_ID, settings, points, now, report)  # fmt: skip # noqa: E501
    removed: set[bytes] = set()
    image = replay_metadata(metadata_log, removed)
    if not points.clean:
        epoch = image.broker_epoch(meta.node_id)
        points = points._replace(log_start=_log_starts(storage, perform, epoch, points, report))
    given, config = config, broker_configs.effective(config, image)
    logs = _open_topics(storage, perform, image, config, points, now, report)
    perform(
        put_away(storage, image, removed, report)
        + _known_only(points, logs, image.broker_epoch(meta.node_id))
    )
    perform(journalled.ending)
    waiting = Waiting()
    cores = Cores(
        config=config,
        given=given,
        storage=storage,
        rng=rng,
        address=Address(
            meta.node_id,
            meta.cluster_id,
            meta.directory_id,
            host,
            rack=config.broker_rack or None,
        ),
        image=image,
        metadata_log=metadata_log,
        groups=GroupCoordinator(config, rng, image),
        transactions=TransactionCoordinator(config),
        waiting=waiting,
        fetch_sessions=FetchSessions(config.max_incremental_fetch_session_cache_slots, waiting),
        logs=logs,
        fsync=fsync,
    )
    cores.quotas.follow(image.quotas)
    return Opened(cores, report)


def _open_topics(
    storage: Storage,
    perform: Perform,
    image: Image,
    config: BrokerConfig,
    points: _Points,
    now: Instant,
    report: list[str],
) -> Logs:
    logs = Logs()
    for topic in image.topics.values():
        log_config = LogConfig.of(log_settings(config, image.topic_configs(topic.name)))
        for number in sorted(topic.partitions):
            name = TopicPartition(topic.name, number)
            log = _open(storage, perform, name, topic.topic_id, log_config, points, now, report)
            logs.add(_epoch_checked(log, topic.partitions[number].leader_epoch))
    return logs


def replay_metadata(log: PartitionLog, removed: set[bytes] | None = None) -> Image:
    """The image that the metadata log describes, where it lacks its beginning together with Kafka's
    snapshot of that; `removed` gets the ids of deleted topics that the log still tells of.
    """
    image = Image()
    start, batches = read_beginning(log) if log.log_start > 0 else (0, [])
    for batch in chain(batches, (b for b in log.scan() if read_header(b).last_offset >= start)):
        if read_header(batch).is_control:
            continue
        for record in decode_records(batch):
            decoded = image.decode(record.key, record.value)
            if decoded is not None:
                image.apply(decoded)
            if removed is not None and isinstance(decoded, RemoveTopicRecord):
                removed.add(decoded.topic_id)
    return image


def _identify(
    storage: Storage, perform: Perform, config: BrokerConfig, rng: Random
) -> MetaProperties:
    path = checkpoints.META_PROPERTIES
    size = storage.size(path)
    if size is None:
        # A first start that was cut short leaves a temporary file behind (D5).
        harmless = (".lock", path + ".tmp", "lost+found")
        others = [name for name in storage.names("") if name not in harmless]
        if others:
            raise ForeignDirectory(
                f"the data directory holds {others[0]!r} but no {path}: it belongs to another "
                "program; name an empty directory or one that this broker made"
            )
        cluster_id = config.cluster_id or base64.urlsafe_b64encode(new_uuid(rng)).decode().rstrip(
            "="
        )
        meta = MetaProperties(cluster_id, config.node_id, new_uuid(rng))
        perform([Replace(path, checkpoints.encode_meta_properties(meta))])
        return meta
    meta = checkpoints.decode_meta_properties(storage.read(path, 0, size), path)
    if config.cluster_id and config.cluster_id != meta.cluster_id:
        raise ForeignDirectory(
            f"{path} says cluster.id={meta.cluster_id} but the settings say {config.cluster_id}: "
            "name the right directory, or leave cluster.id out"
        )
    if config.node_id != meta.node_id:
        raise ForeignDirectory(
            f"{path} says node.id={meta.node_id} but the settings say {config.node_id}: "
            "name the right directory, or set node.id to the directory's"
        )
    return meta


def _points(
    storage: Storage, perform: Perform, synced: Mapping[str, int], report: list[str]
) -> _Points:
    """After a clean stop the mark says whose epoch was the last; else the metadata log will, and
    the log starts are read when it is open.
    """
    mark = _content(storage, checkpoints.CLEAN_SHUTDOWN)
    recovery, cleaner = checkpoints.RECOVERY_POINT, checkpoints.CLEANER
    points = _Points(
        clean=mark is not None,
        recovery=_offsets(recovery, _content(storage, recovery)),
        log_start={},
        # Kafka makes this one empty, until it has cleaned something.
        clean_end=_offsets(cleaner, _content(storage, cleaner) or None),
        synced=synced,
    )
    if mark is None:
        return points
    epoch = checkpoints.decode_clean_shutdown(mark)
    return points._replace(log_start=_log_starts(storage, perform, epoch, points, report))


def _log_starts(
    storage: Storage, perform: Perform, epoch: int, points: _Points, report: list[str]
) -> dict[TopicPartition, int]:
    path = checkpoints.LOG_START
    data, copy = _content(storage, path), _content(storage, path + checkpoints.COPY)
    starts, notes = checkpoints.read_guarded(path, data, copy, epoch, clean=points.clean)
    report += notes
    if starts is not None and starts is not data:
        # This start begins a new epoch, in which that copy says nothing.
        perform([Replace(path, bytes(starts))])
    return _offsets(path, starts)


def _content(storage: Storage, path: str) -> memoryview | None:
    size = storage.size(path)
    return None if size is None else storage.read(path, 0, size)


def _offsets(path: str, data: memoryview | None) -> dict[TopicPartition, int]:
    return {} if data is None else checkpoints.decode_offsets(data, path)


def _open(
    storage: Storage,
    perform: Perform,
    name: TopicPartition,
    topic_id: bytes,
    config: LogConfig,
    points: _Points,
    now: Instant,
    report: list[str],
) -> PartitionLog:
    directory = str(name)
    entries = storage.names(directory)
    if not entries:
        perform([MakeDirectory(directory)])
    elif any(each.endswith(SWAP) for each in entries):
        perform(finish_swaps(storage, directory))
    try:
        opened = open_log(
            storage,
            name,
            topic_id,
            config,
            now,
            clean=points.clean,
            recovery_point=points.recovery.get(name, 0),
            log_start=points.log_start.get(name, 0),
            clean_end=points.clean_end.get(name, NEVER_CLEANED),
            synced=points.synced,
        )
    except (CorruptLog, checkpoints.CorruptCheckpoint) as error:
        raise type(error)(f"{error}; {way_out(directory)}") from error
    if opened.operations:
        perform(opened.operations)
    report += opened.report
    return opened.log


def _known_only(points: _Points, logs: Logs, broker_epoch: int) -> list[Operation]:
    """Write the checkpoints without partitions that are no more: a topic that gets their name would
    take their points for its own (L2). Deletion does the same; a crash may have come before it.
    """
    known = {METADATA_LOG, *logs.by_name}

    def kept(offsets: dict[TopicPartition, int]) -> bytes | None:
        found = {name: offset for name, offset in offsets.items() if name in known}
        return checkpoints.encode_offsets(found) if found != offsets else None

    operations: list[Operation] = []
    for path, offsets in (
        (checkpoints.RECOVERY_POINT, points.recovery),
        (checkpoints.CLEANER, points.clean_end),
    ):
        content = kept(offsets)
        if content is not None:
            operations.append(Replace(path, content))
    starts = kept(points.log_start)
    if starts is not None:
        operations += checkpoints.replace_guarded(checkpoints.LOG_START, starts, broker_epoch)
    return operations


def _epoch_checked(log: PartitionLog, newest: int) -> PartitionLog:
    """A log never knows of a leader epoch that the metadata does not (D6)."""
    if log.epochs.latest > newest:
        raise CorruptLog(
            f"{log.directory}: has leader epoch {log.epochs.latest}, the newest is {newest}: the"
            f" disk changed leader-epoch-checkpoint or a batch; {way_out(log.directory)}"
        )
    return log
