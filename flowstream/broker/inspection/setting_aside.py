"""Giving up what one partition holds, so that a broker that is refused for it starts again: its
directory gets another name, and the partition begins empty behind every offset that it ever gave
out. Decides only; nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.cores import METADATA_LOG
from flowstream.broker.doors import Operation, Rename, Replace, Storage
from flowstream.broker.inspection.replayed import ReplayedFiles
from flowstream.broker.log import checkpoints, journal
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.names import LOG, SWAP, offset_of
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.removal import free_name
from flowstream.broker.log.segment import SPAN
from flowstream.broker.log.state import NEVER_CLEANED
from flowstream.broker.metadata import broker_configs
from flowstream.broker.metadata.image import Image, Topic
from flowstream.broker.metadata.topic_configs import effective
from flowstream.broker.opening import METADATA_TOPIC_ID, replay_metadata
from flowstream.broker.strays import STRAY
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import CorruptLog, FlowstreamError
from flowstream.wire.batch import HEADER_SIZE, read_header
from flowstream.wire.batch_header import MAGIC

_Offsets = dict[TopicPartition, int]


class SetAside(NamedTuple):
    """What is to be done, where the directory is afterwards (None: there was none), and the offset
    at which the partition then begins.
    """

    operations: list[Operation]
    aside: str | None
    begin: int


class NotRefused(FlowstreamError):
    """A partition that a start would open is not given up."""


def set_aside(storage: Storage, name: TopicPartition, now: Instant) -> SetAside:
    """Put `name` aside, if the next start is refused for it. Raises FlowstreamError."""
    if name == METADATA_LOG:
        raise FlowstreamError(f"{name} says which topics there are: restore it from a copy")
    if any(entry.endswith(SWAP) for entry in storage.names(str(name))):
        raise FlowstreamError(f"{name}: a cleaning was broken off: let a start finish it first")
    try:
        recorded, is_refused = _recorded(storage, now), False
    except CorruptLog:  # if not for this partition's files, it is raised again
        recorded, is_refused = _recorded(_Without(storage, str(name)), now), True
    image = recorded.image
    topic = image.topics.get(name.topic)
    if topic is None or name.partition not in topic.partitions:
        raise FlowstreamError(f"no topic has a partition {name}: `flowstream doctor` tells what is")
    if not (is_refused or _is_refused(recorded, name, topic, now)):
        raise NotRefused(f"no start is refused for {name}: nothing was put aside")
    begin = max(
        recorded.recovery.get(name, 0),
        recorded.starts.get(name, 0),
        _offsets(storage, checkpoints.HIGH_WATERMARK).get(name, 0),
        *_reached(storage, str(name)),
    )
    return _plan(storage, recorded, name, begin)


def _is_refused(recorded: _Recorded, name: TopicPartition, topic: Topic, now: Instant) -> bool:
    config = broker_configs.effective(BrokerConfig(), recorded.image)
    settings = LogConfig.of(effective(config, recorded.image.topic_configs(name.topic)))
    try:
        log = _open(recorded, name, topic.topic_id, settings, now)
    except (CorruptLog, checkpoints.CorruptCheckpoint):
        return True
    return log.epochs.latest > topic.partitions[name.partition].leader_epoch


class _Without(ReplayedFiles):
    """A directory as if one partition's were not there."""

    def __init__(self, storage: Storage, hidden: str) -> None:
        super().__init__(storage, ())
        self._hidden = hidden + "/"

    def size(self, path: str) -> int | None:
        """None of what is hidden."""
        return None if path.startswith(self._hidden) else super().size(path)

    def names(self, directory: str) -> list[str]:
        """Nothing of what is hidden."""
        return [] if directory + "/" == self._hidden else super().names(directory)


class _Recorded(NamedTuple):
    """What the last run left, as the next start finds it."""

    view: Storage
    clean: bool
    epoch: int
    synced: Mapping[str, int]
    image: Image
    recovery: _Offsets
    clean_end: _Offsets
    starts: _Offsets


def _recorded(storage: Storage, now: Instant) -> _Recorded:
    mark = _content(storage, checkpoints.CLEAN_SHUTDOWN)
    path = checkpoints.META_PROPERTIES
    meta = checkpoints.decode_meta_properties(_content(storage, path) or b"", path)
    journalled = journal.replay(storage)
    view = ReplayedFiles(storage, journalled.operations)
    known = _Recorded(
        view=view,
        clean=mark is not None,
        epoch=-1,
        synced=journalled.synced,
        image=Image(),
        recovery=_offsets(view, checkpoints.RECOVERY_POINT),
        clean_end=_offsets(view, checkpoints.CLEANER),
        starts={},
    )
    forever = LogConfig(retention_ms=-1, retention_bytes=-1)
    image = replay_metadata(_open(known, METADATA_LOG, METADATA_TOPIC_ID, forever, now))
    last = image.broker_epoch(meta.node_id)
    epoch = last if mark is None else checkpoints.decode_clean_shutdown(mark)
    starts = _log_starts(view, epoch, clean=known.clean)
    return known._replace(epoch=epoch, image=image, starts=starts)


def _open(
    recorded: _Recorded, name: TopicPartition, topic_id: bytes, config: LogConfig, now: Instant
) -> PartitionLog:
    return open_log(
        recorded.view,
        name,
        topic_id,
        config,
        now,
        clean=recorded.clean,
        recovery_point=recorded.recovery.get(name, 0),
        log_start=recorded.starts.get(name, 0),
        clean_end=recorded.clean_end.get(name, NEVER_CLEANED),
        synced=recorded.synced,
    ).log


def _plan(storage: Storage, recorded: _Recorded, name: TopicPartition, begin: int) -> SetAside:
    """The directory first: a crash in between leaves one that is missing, which can be put aside as
    well, and never one whose records a new beginning would delete.
    """
    operations: list[Operation] = []
    aside = None
    if storage.names(str(name)):
        aside = free_name(storage, str(name), STRAY, set())
        operations.append(Rename(str(name), aside))
    operations += checkpoints.replace_guarded(
        checkpoints.LOG_START,
        checkpoints.encode_offsets(recorded.starts | {name: begin}),
        recorded.epoch,
    )
    for path, offsets in (
        (checkpoints.CLEANER, recorded.clean_end),
        (checkpoints.RECOVERY_POINT, recorded.recovery),
    ):
        rest = {each: offset for each, offset in offsets.items() if each != name}
        if rest != offsets:
            operations.append(Replace(path, checkpoints.encode_offsets(rest)))
    return SetAside(operations, aside, begin)


def _reached(storage: Storage, directory: str) -> Iterator[int]:
    """The offsets behind the last batches to whose headers one can still follow the others, in the
    files and in the journal.
    """
    for entry in storage.names(directory):
        path = f"{directory}/{entry}"
        yield _behind(path, partial(_head_of_file, storage, path))
    journals = {path: _content(storage, path) or memoryview(b"") for path in journal.FILES}
    for frame in journal.live_frames(journals):
        for path, _, data in frame.pieces:
            if path.startswith(directory + "/"):
                yield _behind(path, partial(_head_of_piece, memoryview(data)))


def _head_of_file(storage: Storage, path: str, position: int) -> memoryview:
    return storage.read(path, position, HEADER_SIZE)


def _head_of_piece(data: memoryview, position: int) -> memoryview:
    return data[position : position + HEADER_SIZE]


def _behind(path: str, head_at: Callable[[int], memoryview]) -> int:
    """The offset behind the last batch; 0 when this is no segment."""
    base = offset_of(path.rpartition("/")[2], LOG)
    if base is None:
        return 0
    reached, position = base, 0
    while len(head := head_at(position)) == HEADER_SIZE:
        header = read_header(head)
        here = header.magic == MAGIC and 0 <= header.base_offset - base < SPAN
        if not here or header.size < HEADER_SIZE or header.last_offset_delta < 0:
            break
        reached = max(reached, header.last_offset + 1)
        position += header.size
    return reached


def _log_starts(storage: Storage, epoch: int, *, clean: bool) -> _Offsets:
    path = checkpoints.LOG_START
    data, copy = _content(storage, path), _content(storage, path + checkpoints.COPY)
    starts, _ = checkpoints.read_guarded(path, data, copy, epoch, clean=clean)
    return {} if starts is None else checkpoints.decode_offsets(starts, path)


def _offsets(storage: Storage, path: str) -> _Offsets:
    # Kafka makes the cleaner's one empty, until it has cleaned something.
    content = _content(storage, path) or None
    return {} if content is None else checkpoints.decode_offsets(content, path)


def _content(storage: Storage, path: str) -> memoryview | None:
    size = storage.size(path)
    return None if size is None else storage.read(path, 0, size)
