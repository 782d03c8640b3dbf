"""One partition's directory: identity, leader epochs, segments, snapshots, and what the next start
would say of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from flowstream.broker.cores import INTERNAL_TOPICS, METADATA_LOG
from flowstream.broker.doors import Storage
from flowstream.broker.inspection.findings import Finding, error, note, warning
from flowstream.broker.inspection.segments import LONG_MAX, RESTORE, Course, Rules, SegmentExam
from flowstream.broker.log import names
from flowstream.broker.log.checkpoints import (
    CorruptCheckpoint,
    decode_epochs,
    decode_partition_metadata,
    encode_uuid,
)
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.names import way_out
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.snapshots import CorruptSnapshot, decode_snapshot
from flowstream.broker.log.state import NEVER_CLEANED
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import CorruptLog, FlowstreamError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the rest of the directory says of a partition."""

    topic_id: bytes | None
    """None: the topics are not known."""
    clean: bool
    recovery_point: int
    log_start: int
    high_watermark: int
    clean_end: int
    """Up to where it was ever compacted."""
    config: LogConfig
    journalled: Mapping[str, int] = field(default_factory=dict)
    """Sizes up to which the journal says that files were synced."""


def examine_partition(
    storage: Storage, name: TopicPartition, recorded: Recorded, now: Instant, *, deep: bool
) -> Iterator[Finding]:
    """Everything that does not fit in the directory of `name`."""
    directory = str(name)
    entries = storage.names(directory)
    yield from _left_over(directory, entries)
    topic_id, found = _identity(storage, directory, recorded)
    yield from found
    bases = sorted(
        base for base in (names.offset_of(each, names.LOG) for each in entries) if base is not None
    )
    if not bases:
        yield from _without_segments(directory, recorded)
        return
    course = Course(expected=bases[0])
    yield from _segments(storage, name, bases, recorded, course, deep=deep)
    yield from _epochs(storage, directory, course, recorded)
    yield from _snapshots(storage, directory, entries, course)
    if not course.broken:
        yield from _end(directory, course.expected, recorded)
    swapping = any(each.endswith(names.SWAP) for each in entries)
    if topic_id is not None and not swapping:
        yield from _next_start(storage, name, topic_id, recorded, now)


def _left_over(directory: str, entries: list[str]) -> Iterator[Finding]:
    for each in entries:
        path = f"{directory}/{each}"
        if each.endswith((names.DELETED, names.CLEANED)):
            yield note(path, "left over from a deletion or a compaction; the next start removes it")
        elif each.endswith(names.SWAP):
            yield warning(path, "an exchange of segments was cut short", "the next start ends it")


def _identity(
    storage: Storage, directory: str, recorded: Recorded
) -> tuple[bytes | None, list[Finding]]:
    path = f"{directory}/{names.PARTITION_METADATA}"
    size = storage.size(path)
    if size is None:
        told = warning(path, "the file is missing", "the next start writes it again")
        return recorded.topic_id, [told]
    try:
        topic_id = decode_partition_metadata(storage.read(path, 0, size), path)
    except CorruptCheckpoint as fault:
        known = recorded.topic_id
        remedy = (
            "restore it from a copy" if known is None else f"it should say {encode_uuid(known)}"
        )
        return None, [error(path, str(fault), remedy)]
    if recorded.topic_id is not None and topic_id != recorded.topic_id:
        told = error(
            path,
            f"the directory belongs to topic {encode_uuid(topic_id)},"
            f" the metadata says {encode_uuid(recorded.topic_id)}",
            "move the directory away: it is of an earlier topic of this name, or of another broker",
        )
        return None, [told]
    return topic_id, []


def _without_segments(directory: str, recorded: Recorded) -> Iterator[Finding]:
    if recorded.recovery_point > recorded.log_start:
        told = f"there is no segment, but offsets up to {recorded.recovery_point} were synced"
        yield error(directory, told, RESTORE)


def _segments(
    storage: Storage,
    name: TopicPartition,
    bases: list[int],
    recorded: Recorded,
    course: Course,
    *,
    deep: bool,
) -> Iterator[Finding]:
    directory = str(name)
    internal = name.topic in INTERNAL_TOPICS or name == METADATA_LOG
    rules = Rules(
        topic=name.topic,
        synced=LONG_MAX if recorded.clean else recorded.recovery_point,
        journalled=recorded.journalled,
        gaps=recorded.config.compact or recorded.clean_end != NEVER_CLEANED,
        internal=internal,
        deep=deep,
    )
    for base, following in zip(bases, [*bases[1:], LONG_MAX], strict=True):
        path = names.file_path(directory, base, names.LOG)
        if course.broken:
            yield note(path, "not examined: the log does not go on behind what was found before it")
            continue
        if base < course.expected or (base > course.expected and not rules.gaps):
            told = f"the segment begins at {base}, the one before it ends at {course.expected}"
            if course.expected < rules.synced:
                yield error(path, told, RESTORE, offset=course.expected)
            else:
                yield warning(path, told, "the next start cuts the log here", offset=base)
            course.broken = True
            continue
        course.expected = max(course.expected, base)
        trusted = recorded.clean or following <= recorded.recovery_point
        exam = SegmentExam(storage, directory, base, rules, course, trusted=trusted)
        yield from exam.findings()


def _epochs(
    storage: Storage, directory: str, course: Course, recorded: Recorded
) -> Iterator[Finding]:
    path = f"{directory}/{names.LEADER_EPOCHS}"
    size = storage.size(path)
    remedy = "delete it while the broker is stopped: the epochs are read from the batches"
    if size is None:
        if course.leader_epochs and recorded.clean and directory != str(METADATA_LOG):
            yield warning(path, "the file is missing", "clients are told no leader epochs then")
        return
    try:
        known = dict(decode_epochs(storage.read(path, 0, size), path))
    except CorruptCheckpoint as fault:
        yield error(path, str(fault), remedy)
        return
    for epoch, first in course.leader_epochs.items():
        if epoch < 0 or first < recorded.log_start or (not recorded.clean and epoch not in known):
            continue
        if known.get(epoch, LONG_MAX) > first:
            told = f"batches of leader epoch {epoch} begin at {first}, the file does not say so"
            yield warning(path, told, remedy, offset=first)


def _snapshots(
    storage: Storage, directory: str, entries: list[str], course: Course
) -> Iterator[Finding]:
    for each in entries:
        offset = names.offset_of(each, names.SNAPSHOT)
        if offset is None:
            continue
        path = f"{directory}/{each}"
        try:
            decode_snapshot(storage.read(path, 0, storage.size(path) or 0), Instant(0))
        except CorruptSnapshot as fault:
            told = f"not a whole producer snapshot: {fault}"
            yield warning(path, told, "the next start tells the same from an older one and the log")
        if offset > course.expected and not course.broken:
            yield warning(path, "beyond the end of the log", "the next start removes it")


def _end(directory: str, end: int, recorded: Recorded) -> Iterator[Finding]:
    if end < recorded.recovery_point:
        told = f"the log ends at {end}, offsets up to {recorded.recovery_point} were synced"
        yield error(directory, told, RESTORE, offset=end)
    if end < recorded.log_start:
        told = f"the log ends at {end}, before its start {recorded.log_start}"
        yield warning(directory, told, "it begins anew there", offset=end)
    if recorded.clean and end < recorded.high_watermark:
        told = f"the log ends at {end}, before its high watermark {recorded.high_watermark}"
        yield error(directory, told, RESTORE, offset=end)


def _next_start(
    storage: Storage, name: TopicPartition, topic_id: bytes, recorded: Recorded, now: Instant
) -> Iterator[Finding]:
    """Open the log as a start would, without doing what that asks for."""
    try:
        opened = open_log(
            storage,
            name,
            topic_id,
            replace(recorded.config, retention_ms=-1, retention_bytes=-1),
            now,
            clean=recorded.clean,
            recovery_point=recorded.recovery_point,
            log_start=recorded.log_start,
            clean_end=recorded.clean_end,
            synced=recorded.journalled,
        )
    except CorruptLog as fault:
        yield error(str(name), f"the broker refuses it: {fault}", way_out(str(name)))
    except FlowstreamError as fault:
        yield error(str(name), f"the broker refuses it: {fault}", "see the finding about that file")
    else:
        for line in opened.report:
            yield warning(str(name), f"the next start says: {line}")
