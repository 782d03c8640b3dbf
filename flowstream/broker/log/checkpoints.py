"""Kafka's small text files: offset checkpoints, leader epochs, partition.metadata, meta.properties,
the clean-shutdown mark.

Text in, values out and back. A file that is not understood raises CorruptCheckpoint: it is never
taken for an empty one (D7).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flowstream.broker.doors import Operation, Replace
from flowstream.broker.types import TopicPartition
from flowstream.errors import FlowstreamError
from flowstream.wire.checksum import crc32c

RECOVERY_POINT = "recovery-point-offset-checkpoint"
LOG_START = "log-start-offset-checkpoint"
HIGH_WATERMARK = "replication-offset-checkpoint"
CLEANER = "cleaner-offset-checkpoint"
META_PROPERTIES = "meta.properties"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"

COPY = ".copy"
"""Suffix of a second copy, with a checksum, of a file that nothing else contradicts."""

_CHECKSUM = "crc32c="
_VERSION = "0"
_WHOLE = re.compile(r"-?[0-9]{1,19}")


class CorruptCheckpoint(FlowstreamError):
    """A checkpoint or properties file that says something impossible."""


class MetaProperties(NamedTuple):
    """Whose data directory this is. `directory_id` is 16 bytes."""

    cluster_id: str
    node_id: int
    directory_id: bytes


def encode_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    """An offset checkpoint: version, count, one line per partition."""
    lines = [f"{name.topic} {name.partition} {offset}" for name, offset in offsets.items()]
    return _text([_VERSION, str(len(lines)), *lines])


def decode_offsets(data: bytes | memoryview, path: str) -> dict[TopicPartition, int]:
    """The offsets of a checkpoint file."""
    found = {}
    for line in _lines(data, path):
        words = line.split(" ")
        if len(words) != 3:
            raise CorruptCheckpoint(f"{path}: not a topic, a partition and an offset: {line!r}")
        found[TopicPartition(words[0], _whole(words[1], path))] = _whole(words[2], path)
    return found


def replace_guarded(path: str, data: bytes, broker_epoch: int) -> list[Operation]:
    """Write a file that has no checksum; the copy that has one goes first (D6).

    The copy says in which epoch of the broker it was written: another program that uses the
    directory (Apache Kafka) begins an epoch of its own and knows no copies.
    """
    told = b"%d\n" % broker_epoch + data
    return [Replace(path + COPY, b"%08x\n" % crc32c(told) + told), Replace(path, data)]


def read_guarded(
    path: str, data: memoryview | None, copy: memoryview | None, broker_epoch: int, *, clean: bool
) -> tuple[memoryview | None, list[str]]:
    """The content of a file and what there is to tell, from the file and its copy.

    `broker_epoch` is the last that any program began in this directory: a copy of another one is
    older than what that program did and says nothing. One of the same is at least as new as the
    file, because it is written first; after a clean stop both are equal. Raises CorruptCheckpoint.
    """
    if copy is None:
        return data, []
    told = unguarded(copy)
    if told is None:
        return data, [f"{path}{COPY}: is damaged and left out; it will be written anew"]
    epoch, copied = told
    if epoch != broker_epoch or (data is not None and data == copied):
        return data, []
    if clean:
        raise CorruptCheckpoint(
            f"{path}: differs from {path}{COPY}: the disk changed it: delete {path}, and the copy"
            " is taken"
        )
    return copied, [f"{path}: {path}{COPY} is newer or undamaged and is taken"]


def unguarded(copy: memoryview) -> tuple[int, memoryview] | None:
    """Broker epoch and content of a copy, None when its checksum does not match."""
    if bytes(copy[:9]) != b"%08x\n" % crc32c(copy[9:]):
        return None
    epoch, newline, _ = bytes(copy[9:40]).partition(b"\n")
    if not newline or not epoch.removeprefix(b"-").isdigit():
        return None
    return int(epoch), copy[9 + len(epoch) + 1 :]


def encode_epochs(epochs: Iterable[tuple[int, int]]) -> bytes:
    """A leader-epoch-checkpoint: version, count, one line `epoch startOffset` each."""
    lines = [f"{epoch} {start}" for epoch, start in epochs]
    return _text([_VERSION, str(len(lines)), *lines])


def decode_epochs(data: bytes | memoryview, path: str) -> list[tuple[int, int]]:
    """The (epoch, start offset) pairs of a leader-epoch-checkpoint; both must grow."""
    pairs: list[tuple[int, int]] = []
    for line in _lines(data, path):
        epoch, _, start = line.partition(" ")
        pair = (_whole(epoch, path), _whole(start, path))
        if pairs and not (pair[0] > pairs[-1][0] and pair[1] >= pairs[-1][1]):
            raise CorruptCheckpoint(f"{path}: epoch {pair} after {pairs[-1]}")
        pairs.append(pair)
    return pairs


def encode_partition_metadata(topic_id: bytes) -> bytes:
    """The partition.metadata file: no newline at its end, as Kafka writes it."""
    return f"version: 0\ntopic_id: {encode_uuid(topic_id)}".encode()


def decode_partition_metadata(data: bytes | memoryview, path: str) -> bytes:
    """The topic id, 16 bytes."""
    lines = _decoded(data, path).split("\n")
    if len(lines) < 2 or lines[0] != "version: 0" or not lines[1].startswith("topic_id: "):
        raise CorruptCheckpoint(f"{path}: not a partition.metadata file of version 0")
    return decode_uuid(lines[1].removeprefix("topic_id: "), path)


def encode_meta_properties(meta: MetaProperties) -> bytes:
    """The meta.properties file of version 1 (KIP-858)."""
    lines = [
        "#",
        f"node.id={meta.node_id}",
        f"directory.id={encode_uuid(meta.directory_id)}",
        "version=1",
        f"cluster.id={meta.cluster_id}",
    ]
    # A comment for Kafka; where it is absent Kafka wrote the file.
    lines[0] += f"{_CHECKSUM}{crc32c(_text(lines[1:])):08x}"
    return _text(lines)


def decode_meta_properties(data: bytes | memoryview, path: str) -> MetaProperties:
    """Whose directory it is; versions other than 1 are refused."""
    comment, _, rest = bytes(data).partition(b"\n")
    expected = f"#{_CHECKSUM}{crc32c(rest):08x}".encode()
    if comment[:-8] == expected[:-8] and comment != expected:
        raise CorruptCheckpoint(
            f"{path}: was changed since it was written: restore it, or take away the first line if"
            " you changed it yourself"
        )
    found = {}
    for line in _decoded(data, path).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "!")):
            found[key.strip()] = value.strip()
    missing = {"node.id", "directory.id", "version", "cluster.id"} - found.keys()
    if missing:
        raise CorruptCheckpoint(
            f"{path}: lacks {', '.join(sorted(missing))}: restore it from a copy"
        )
    if found["version"] != "1":
        raise CorruptCheckpoint(f"{path}: version {found['version']}, understood is 1")
    return MetaProperties(
        found["cluster.id"],
        _whole(found["node.id"], path),
        decode_uuid(found["directory.id"], path),
    )


def encode_clean_shutdown(broker_epoch: int) -> bytes:
    """The mark of a clean stop (KIP-966)."""
    return json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":")).encode()


def decode_clean_shutdown(data: bytes | memoryview) -> int:
    """The broker epoch of a clean stop; -1, which no broker has, where the mark is not understood:
    Kafka too takes its presence for the sign.
    """
    try:
        told = json.loads(bytes(data))
        epoch = told["brokerEpoch"]
    except (ValueError, TypeError, KeyError):
        return -1
    return epoch if isinstance(epoch, int) else -1


def encode_uuid(value: bytes) -> str:
    """Kafka's text of a UUID: URL-safe base64 without padding.

    >>> encode_uuid(bytes(16))
    'AAAAAAAAAAAAAAAAAAAAAA'
    """
    assert len(value) == 16, f"{len(value)} bytes for a UUID"
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def decode_uuid(text: str, path: str) -> bytes:
    """The 16 bytes of a UUID's text."""
    try:
        value = base64.b64decode(text.strip() + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CorruptCheckpoint(f"{path}: not a UUID: {text!r}") from error
    if len(value) != 16:
        raise CorruptCheckpoint(f"{path}: not a UUID: {text!r}")
    return value


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _decoded(data: bytes | memoryview, path: str) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise CorruptCheckpoint(f"{path}: not text") from error


def _lines(data: bytes | memoryview, path: str) -> list[str]:
    lines = _decoded(data, path).split("\n")
    if len(lines) < 3 or lines[0] != _VERSION or lines[-1] != "":
        raise CorruptCheckpoint(f"{path}: not a checkpoint file of version {_VERSION}")
    count = _whole(lines[1], path)
    if count != len(lines) - 3:
        raise CorruptCheckpoint(f"{path}: {len(lines) - 3} lines, {count} announced")
    return lines[2:-1]


def _whole(text: str, path: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise CorruptCheckpoint(f"{path}: not a number: {text!r}")
    return int(text)
