"""A whole data directory: whose it is, what its last stop left, its topics, every partition, and
what does not belong there (`flowstream doctor`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from flowstream.broker.config import BrokerConfig
from flowstream.broker.cores import METADATA_LOG
from flowstream.broker.doors import Storage
from flowstream.broker.inspection.findings import Finding, error, note, warning
from flowstream.broker.inspection.partitions import Recorded, examine_partition
from flowstream.broker.inspection.replayed import ReplayedFiles
from flowstream.broker.log import checkpoints, journal
from flowstream.broker.log.checkpoints import CorruptCheckpoint
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.names import way_out
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.state import NEVER_CLEANED
from flowstream.broker.metadata import broker_configs
from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.topic_configs import effective
from flowstream.broker.opening import METADATA_TOPIC_ID, replay_metadata
from flowstream.broker.strays import GONE, STRAY, is_file, may_go
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import CorruptLog, FlowstreamError

Offsets = dict[TopicPartition, int]
RESTORE_NAMED = "restore the file that it names from a copy; nothing is repaired by itself"


class DirectoryExam:
    """The examination of one data directory."""

    def __init__(
        self, storage: Storage, config: BrokerConfig, now: Instant, *, deep: bool = False
    ) -> None:
        """`config` gives the defaults of topics; `deep` decodes every record."""
        self.partitions = 0
        """How many were examined so far."""
        self._storage = storage
        self._config = config
        self._now = now
        self._deep = deep
        self._clean = storage.size(checkpoints.CLEAN_SHUTDOWN) is not None
        self._offsets: dict[str, Offsets] = {}
        self._journalled: Mapping[str, int] = {}
        self._node = -1
        self._removed: set[bytes] = set()
        """The ids of deleted topics."""

    def findings(self) -> Iterator[Finding]:
        """Everything that was found, the directory's own files first."""
        yield from self._identity()
        yield from self._last_stop()
        refused = yield from self._journal()
        if refused:
            return
        for file in (
            checkpoints.RECOVERY_POINT,
            checkpoints.HIGH_WATERMARK,
            checkpoints.CLEANER,
        ):
            yield from self._checkpoint(file)
        starts = list(self._checkpoint(checkpoints.LOG_START))
        yield from self._partition(METADATA_LOG, METADATA_TOPIC_ID, LogConfig())
        image, found = self._image()
        yield from found
        if image is not None:
            # Whether the copy counts depends on who used the directory last.
            mark = self._content(checkpoints.CLEAN_SHUTDOWN)
            epoch = (
                image.broker_epoch(self._node)
                if mark is None
                else checkpoints.decode_clean_shutdown(mark)
            )
            starts = list(self._checkpoint(checkpoints.LOG_START, epoch))
        yield from starts
        if image is not None:
            self._config = broker_configs.effective(self._config, image)
        present = set(self._present())
        if image is None:
            for name in sorted(present - {METADATA_LOG}):
                yield from self._partition(name, None, self._guessed(name))
        else:
            yield from self._topics(image, present)
        yield from self._others(present, image)
        yield from self._without_directory(present)

    def _identity(self) -> Iterator[Finding]:
        path = checkpoints.META_PROPERTIES
        size = self._storage.size(path)
        if size is None:
            told = "the file is missing: the broker takes the directory for another program's"
            yield error(path, told, "name the right directory, or restore the file from a copy")
            return
        try:
            meta = checkpoints.decode_meta_properties(self._storage.read(path, 0, size), path)
            self._node = meta.node_id
        except CorruptCheckpoint as fault:
            yield error(path, str(fault), "restore it from a copy: it names cluster and node")

    def _last_stop(self) -> Iterator[Finding]:
        path = checkpoints.CLEAN_SHUTDOWN
        if self._clean:
            yield note(path, "the broker was stopped cleanly: the next start trusts the files")
        else:
            told = "the broker was not stopped cleanly: the next start reads from recovery points"
            yield note(path, told)

    def _journal(self) -> Generator[Finding, None, bool]:
        """Look at everything else as the next start does: behind what the journal holds. True when
        that start is refused for the journal itself.
        """
        present = [path for path in journal.FILES if self._storage.size(path) is not None]
        if not present:
            return False
        try:
            found = journal.replay(self._storage)
        except CorruptLog as fault:
            yield error(present[0], f"the broker refuses it: {fault}", RESTORE_NAMED)
            return True
        self._storage = ReplayedFiles(self._storage, found.operations)
        self._journalled = found.synced
        told = (
            f"says what was synced of {len(found.synced)} files; they are examined with the bytes"
            " that the next start writes to them from here"
        )
        yield note(present[0], told)
        for line in found.report:
            yield warning(present[0], f"the next start says: {line}")
        return False

    def _content(self, path: str) -> memoryview | None:
        size = self._storage.size(path)
        return None if size is None else self._storage.read(path, 0, size)

    def _checkpoint(self, path: str, epoch: int | None = None) -> Iterator[Finding]:
        try:
            content, told = self._content(path), list[str]()
            if epoch is not None:
                copy = self._content(path + checkpoints.COPY)
                content, told = checkpoints.read_guarded(
                    path, content, copy, epoch, clean=self._clean
                )
            # Kafka makes the cleaner's one empty, until it has cleaned something.
            none = content is None or (path == checkpoints.CLEANER and not len(content))
            self._offsets[path] = {} if none else checkpoints.decode_offsets(content or b"", path)
            for line in told:
                yield warning(path, f"the next start says: {line}")
        except CorruptCheckpoint as fault:
            self._offsets[path] = {}
            yield error(
                path,
                str(fault),
                "delete it while the broker is stopped: all logs are then read from their"
                " beginning, and deleted records of the oldest segments may come back",
            )

    def _recorded(
        self, name: TopicPartition, topic_id: bytes | None, config: LogConfig
    ) -> Recorded:
        found = self._offsets
        return Recorded(
            topic_id=topic_id,
            clean=self._clean,
            recovery_point=found[checkpoints.RECOVERY_POINT].get(name, 0),
            log_start=found[checkpoints.LOG_START].get(name, 0),
            high_watermark=found[checkpoints.HIGH_WATERMARK].get(name, 0),
            clean_end=found[checkpoints.CLEANER].get(name, NEVER_CLEANED),
            config=config,
            journalled=self._journalled,
        )

    def _partition(
        self, name: TopicPartition, topic_id: bytes | None, config: LogConfig
    ) -> Iterator[Finding]:
        self.partitions += 1
        recorded = self._recorded(name, topic_id, config)
        try:
            yield from examine_partition(self._storage, name, recorded, self._now, deep=self._deep)
        except FlowstreamError as fault:
            yield error(
                str(name), f"cannot be read: {fault}", "check the disk and the file's rights"
            )

    def _image(self) -> tuple[Image | None, list[Finding]]:
        """The topics, as the next start would know them."""
        try:
            log = open_log(
                self._storage,
                METADATA_LOG,
                METADATA_TOPIC_ID,
                LogConfig(retention_ms=-1, retention_bytes=-1),
                self._now,
                clean=self._clean,
                recovery_point=self._offsets[checkpoints.RECOVERY_POINT].get(METADATA_LOG, 0),
                log_start=self._offsets[checkpoints.LOG_START].get(METADATA_LOG, 0),
                synced=self._journalled,
            ).log
            return replay_metadata(log, self._removed), []
        except FlowstreamError as fault:
            told = f"the topics cannot be read: {fault}"
            remedy = "restore this partition from a copy: without it the broker does not start"
            return None, [error(str(METADATA_LOG), told, remedy)]

    def _topics(self, image: Image, present: set[TopicPartition]) -> Iterator[Finding]:
        for topic in sorted(image.topics.values(), key=lambda each: each.name):
            settings = LogConfig.of(effective(self._config, image.topic_configs(topic.name)))
            for number in sorted(topic.partitions):
                name = TopicPartition(topic.name, number)
                if name in present:
                    yield from self._partition(name, topic.topic_id, settings)
                    continue
                synced = self._offsets[checkpoints.RECOVERY_POINT].get(name, 0)
                if synced:
                    told = f"the directory is missing, offsets up to {synced} were synced"
                    yield error(str(name), told, way_out(str(name)))
                else:
                    yield warning(str(name), "the directory is missing", "it begins empty")

    def _guessed(self, name: TopicPartition) -> LogConfig:
        """Without its settings a log may have been compacted."""
        return LogConfig(compact=name != METADATA_LOG)

    def _present(self) -> Iterator[TopicPartition]:
        for entry in self._storage.names(""):
            topic, dash, number = entry.rpartition("-")
            if not (dash and number.isdecimal()) or is_file(self._storage, entry):
                continue
            if self._storage.names(entry):
                yield TopicPartition(topic, int(number))

    def _others(self, present: set[TopicPartition], image: Image | None) -> Iterator[Finding]:
        """What no topic owns."""
        if METADATA_LOG not in present:
            yield error(
                str(METADATA_LOG),
                "the directory is missing: the broker would know no topic",
                "restore it from a copy; the partitions are put aside otherwise, not deleted",
            )
        if image is not None:
            owned = {
                TopicPartition(topic.name, number)
                for topic in image.topics.values()
                for number in topic.partitions
            }
            for name in sorted(present - owned - {METADATA_LOG}):
                if may_go(self._storage, str(name), self._removed):
                    told = "of a deleted topic, or of one that a crash cut short"
                    yield note(str(name), f"{told}; the next start removes it")
                    continue
                aside = f"the next start puts it aside as {name}{STRAY}"
                yield warning(str(name), "no topic owns this directory", aside)
        for entry in self._storage.names(""):
            if not entry.endswith((GONE, STRAY)) or is_file(self._storage, entry):
                continue
            if entry.endswith(GONE):
                yield note(entry, "of a deleted topic; the next start removes it")
            else:
                yield note(entry, "put aside by an earlier start: look at it, then delete it")

    def _without_directory(self, present: set[TopicPartition]) -> Iterator[Finding]:
        for path, offsets in self._offsets.items():
            gone = sorted(name for name in offsets if name not in present)
            if gone:
                shown = ", ".join(str(name) for name in gone[:3]) + ", ..." * (len(gone) > 3)
                yield note(path, f"names {len(gone)} logs that have no directory: {shown}")
