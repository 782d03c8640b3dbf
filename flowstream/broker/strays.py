"""Entries of the data directory that no partition of the image owns: whose they are, and what a
start does with them. It must not know what is in a log.
"""

from __future__ import annotations

from collections.abc import Container

from flowstream.broker.cores import METADATA_LOG
from flowstream.broker.doors import Discard, Operation, Remove, Rename, Storage
from flowstream.broker.log import checkpoints
from flowstream.broker.log.names import (
    LEADER_EPOCHS,
    LOG,
    PARTITION_METADATA,
    TEMPORARY,
    file_path,
)
from flowstream.broker.log.removal import free_name
from flowstream.broker.metadata.image import Image
from flowstream.errors import StorageError

GONE = "-delete"
STRAY = "-stray"


def put_away(
    storage: Storage, image: Image, removed: set[bytes], report: list[str]
) -> list[Operation]:
    """Directories that no partition of the image owns: those of deleted topics go, also when a
    crash came before their renaming; strays are kept aside, because a metadata log that lost
    records must not cost data (D7).
    """
    operations, given = list[Operation](), set[str]()
    for name in storage.names(""):
        topic, dash, number = name.rpartition("-")
        is_gone = name.endswith(GONE)
        if not is_gone and not (
            dash and number.isdecimal() and not _owns(image, topic, int(number))
        ):
            continue
        if is_file(storage, name):
            continue
        if is_gone:
            operations.append(Remove(name))
        elif may_go(storage, name, removed):
            gone = free_name(storage, name, GONE, given)
            operations.append(Discard(name, gone))
        else:
            aside = free_name(storage, name, STRAY, given)
            report.append(f"{name} belongs to no topic: kept aside as {aside}")
            operations.append(Rename(name, aside))
    return operations


def is_file(storage: Storage, name: str) -> bool:
    """Whether an entry of the data directory is a plain file: what is named like a partition, or
    like a deleted one, is somebody's else, and left alone as Kafka does.
    """
    try:
        storage.names(name)
    except StorageError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return True
        raise
    return False


def may_go(storage: Storage, directory: str, removed: Container[bytes]) -> bool:
    """Whether a start deletes the directory of a partition that the image does not have: that of a
    topic in `removed`, or one that nothing was written to.
    """
    topic_id = _topic_id(storage, directory)
    return topic_id in removed or _is_pristine(storage, directory, topic_id)


def _is_pristine(storage: Storage, directory: str, topic_id: bytes | None) -> bool:
    """Whether nothing was ever written to the partition: a crash took the record of its creation,
    which nobody was told of.
    """
    first = file_path(directory, 0, LOG)
    expected = {first, f"{directory}/{LEADER_EPOCHS}"}
    if topic_id is not None:
        expected.add(f"{directory}/{PARTITION_METADATA}")
    found = {f"{directory}/{name}" for name in storage.names(directory)}
    rest = {path for path in found - expected if not path.endswith(TEMPORARY)}
    return not rest and not storage.size(first)


def _topic_id(storage: Storage, directory: str) -> bytes | None:
    """Whose directory it is; None when it does not say so."""
    path = f"{directory}/{PARTITION_METADATA}"
    size = storage.size(path)
    if size is None:
        return None
    try:
        return checkpoints.decode_partition_metadata(storage.read(path, 0, size), path)
    except checkpoints.CorruptCheckpoint:
        return None


def _owns(image: Image, topic: str, number: int) -> bool:
    if (topic, number) == METADATA_LOG:
        return True
    known = image.topics.get(topic)
    return known is not None and number in known.partitions
