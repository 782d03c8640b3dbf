"""Names of the files in a partition's directory, as Kafka writes them. Text only: what the files
hold is not known here.
"""

from __future__ import annotations

LOG = ".log"
INDEX = ".index"
TIMEINDEX = ".timeindex"
TXNINDEX = ".txnindex"
TXNCHECK = ".txnindex.crc"
"""What Kafka's `.txnindex` lacks: a checksum. Kafka passes such files over."""
SNAPSHOT = ".snapshot"
CHECKPOINT = ".checkpoint"
"""What Kafka keeps of the metadata in place of its log's beginning."""
CLEANED = ".cleaned"
DELETED = ".deleted"
SWAP = ".swap"
TEMPORARY = ".tmp"
"""New content that has not got its name yet."""

SEGMENT_SUFFIXES = (LOG, INDEX, TIMEINDEX, TXNINDEX, TXNCHECK, SNAPSHOT)
"""Suffixes of the files that belong to one segment."""

LEADER_EPOCHS = "leader-epoch-checkpoint"
PARTITION_METADATA = "partition.metadata"


def way_out(directory: str) -> str:
    """What to do about a partition's directory that is not what was written. Nothing but a copy
    helps the log that says which topics there are.
    """
    if directory.startswith("__cluster_metadata-"):
        return f"restore {directory} from a copy"
    return (
        f"restore {directory} from a copy, or give up what it holds:"
        f" `flowstream doctor DIR --set-aside {directory}`"
    )


def file_path(directory: str, base_offset: int, suffix: str) -> str:
    """Path of a segment's file.

    >>> file_path("orders-0", 17, LOG)
    'orders-0/00000000000000000017.log'
    """
    return f"{directory}/{base_offset:020d}{suffix}"


def offset_of(name: str, suffix: str) -> int | None:
    """The offset in a file name, None when it is not such a file.

    >>> offset_of("00000000000000000017.log", LOG), offset_of("partition.metadata", LOG)
    (17, None)
    """
    stem = name.removesuffix(suffix)
    if len(stem) != 20 or stem == name or not (stem.isascii() and stem.isdigit()):
        return None
    return int(stem)
