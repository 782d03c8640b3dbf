"""The write-ahead journal: what a group commit wrote to many files, once more in one file, so that
one sync makes all of it durable. Its bytes, and what recovery does with them.

Pure: frames in and out, and a replay as operations. Who writes frames, and when the files that they
speak of are synced, is `storage.journaled`; see docs/decisions/0001-journal.md.

A frame begins at a multiple of BLOCK and never shares one with another, so that no write touches
what was acknowledged. Frames are numbered. Each says below which number (`floor`) all files were
synced since: such frames are dead, and their file may be written anew from its beginning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.broker.doors import Buffer, Flush, Operation, Overwrite, Remove, Storage
from flowstream.broker.log.names import DELETED, way_out
from flowstream.broker.log.removal import remove_durably
from flowstream.errors import CorruptLog
from flowstream.wire.checksum import crc32c

FILES = ("journal-0.wal", "journal-1.wal")
"""In the data directory itself, where Kafka looks at directories only."""

BLOCK = 4096
SALT_BYTES = 8

_MAGIC = b"FSJ1"
_HEAD = struct.Struct(">4sIIQQ8s")
"""Magic, CRC-32C of all that follows it, bytes of the pieces, number, floor, salt."""
_CRC_FROM = 8
_PIECE = struct.Struct(">HQI")
"""Bytes of the path, position, bytes of the data; then path and data."""


class Piece(NamedTuple):
    """Bytes of a file."""

    path: str
    position: int
    data: Buffer


VOID = 2**64 - 1
"""Position of a piece that ends all earlier ones of its file, or of the files in its directory: the
name is another's from here on.
"""


class Frame(NamedTuple):
    """What one sync made durable, and where in its journal file it ends."""

    number: int
    floor: int
    salt: bytes
    pieces: list[Piece]
    end: int


@dataclass(slots=True)
class Replay:
    """What the journal demands."""

    operations: list[Operation] = field(default_factory=list)
    """To be performed first of all: every file has its bytes then, and the frames are dead."""
    ending: list[Operation] = field(default_factory=list)
    """To be performed when every log was opened: until then the journal tells what was synced."""
    synced: dict[str, int] = field(default_factory=dict)
    """The size up to which each file was synced."""
    report: list[str] = field(default_factory=list)


def encode_frame(number: int, floor: int, salt: bytes, pieces: Iterable[Piece] = ()) -> bytearray:
    """A frame, filled up to whole blocks.

    `salt` is random, of one life of a broker: a client's record that looks like a frame is none.
    """
    frame = bytearray(_HEAD.size)
    for path, position, data in pieces:
        name = path.encode()
        frame += _PIECE.pack(len(name), position, len(data))
        frame += name
        frame += data
    length = len(frame) - _HEAD.size
    _HEAD.pack_into(frame, 0, _MAGIC, 0, length, number, floor, salt)
    _HEAD.pack_into(frame, 0, _MAGIC, _checksum(frame), length, number, floor, salt)
    frame += bytes(-len(frame) % BLOCK)
    return frame


def replay(storage: Storage) -> Replay:
    """Put what the journal holds into its files, and end it. Raises CorruptLog.

    A crash at any point is harmless (D5): once the files are synced a last frame declares all
    others dead. It keeps no bytes, only how far the files were synced, so that a log that was
    refused for it is refused again; and its file goes last.
    """
    found = Replay()
    journals = {path: _content(storage, path) for path in FILES}
    for path, runs in _merged(live_frames(journals)).items():
        found.operations += _restore(storage, path, runs, found)
    present = [path for path in FILES if storage.size(path) is not None]
    last = _newest(journals, found)
    if last is not None:
        newest, frame = last
        notes = [Piece(path, size, b"") for path, size in found.synced.items()]
        note = encode_frame(frame.number + 1, frame.number + 1, frame.salt, notes)
        found.operations += [Overwrite(newest, frame.end, note), Flush(newest)]
        present.sort(key=lambda path: path == newest)
    for path in present:
        found.ending += remove_durably([path])
    # What a crash left of that.
    found.ending += [
        Remove(path + DELETED) for path in FILES if storage.size(path + DELETED) is not None
    ]
    return found


def live_frames(journals: dict[str, memoryview]) -> list[Frame]:
    """The frames that count, in order; they must be whole: an earlier one was durable before the
    next was written (D3). Raises CorruptLog.
    """
    frames = sorted((frame for _, frame in _frames(journals)), key=_number)
    if not frames:
        return []
    floor = max(frame.floor for frame in frames)
    live = [frame for frame in frames if frame.number >= floor]
    begun = any(_frame_at(data, 0) is not None for data in journals.values())
    for expected, frame in enumerate(live, floor):
        if frame.number != expected or not begun:
            raise CorruptLog(
                f"{' and '.join(FILES)}: frame {expected} is damaged but frame {frame.number} is"
                " whole, so it was durable: restore the files from a copy; without one, move them"
                " away to go on without the newest records"
            )
    return live


def _newest(journals: dict[str, memoryview], found: Replay) -> tuple[str, Frame] | None:
    """The last frame and its file; an unfinished one after it is told of."""
    frames = list(_frames(journals))
    if not frames:
        return None
    newest = max(frames, key=lambda each: each[1].number)
    wanted = (_MAGIC, newest[1].number + 1, newest[1].salt)
    for path, data in journals.items():
        for at in range(0, len(data) - _HEAD.size, BLOCK):
            magic, _, _, number, _, salt = _HEAD.unpack_from(data, at)
            if (magic, number, salt) == wanted:
                found.report.append(
                    f"{path}: the frame at byte {at} is not whole: it was never acknowledged"
                )
    return newest


def _number(frame: Frame) -> int:
    return frame.number


def _frames(journals: dict[str, memoryview]) -> Iterator[tuple[str, Frame]]:
    """Every whole frame of this journal, dead ones too."""
    first = [frame for data in journals.values() if (frame := _frame_at(data, 0)) is not None]
    salts = {frame.salt for frame in first}
    for path, data in journals.items():
        for _, frame in _whole(data, salts):
            yield path, frame


def frames_of(data: memoryview) -> Iterator[tuple[int, Frame]]:
    """(position, frame) of every whole frame of one journal file, dead ones too."""
    first = _frame_at(data, 0)
    return _whole(data, set() if first is None else {first.salt})


def unfinished(data: memoryview, newest: Frame | None) -> int | None:
    """Where the frame that follows `newest` begins in this file, and is not whole."""
    for at in range(0, len(data) - _HEAD.size, BLOCK):
        magic, _, _, number, _, salt = _HEAD.unpack_from(data, at)
        expected = newest is None or (number, salt) == (newest.number + 1, newest.salt)
        if magic == _MAGIC and expected and _frame_at(data, at) is None:
            return at
    return None


def _whole(data: memoryview, salts: set[bytes]) -> Iterator[tuple[int, Frame]]:
    at = 0
    while at < len(data):
        frame = _frame_at(data, at)
        # Where both beginnings are damaged any frame shows that something is missing.
        if frame is None or (salts and frame.salt not in salts):
            at += BLOCK
            continue
        yield at, frame
        at = frame.end


def _frame_at(data: memoryview, at: int) -> Frame | None:
    if len(data) - at < _HEAD.size:
        return None
    magic, crc, length, number, floor, salt = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if magic != _MAGIC or end > len(data) or _checksum(data[at:end]) != crc:
        return None
    pieces = list(_pieces(data[at + _HEAD.size : end]))
    return Frame(number, floor, salt, pieces, end + -end % BLOCK)


def _pieces(data: memoryview) -> Iterator[Piece]:
    at = 0
    while at < len(data):
        path_length, position, length = _PIECE.unpack_from(data, at)
        at += _PIECE.size
        path = bytes(data[at : at + path_length]).decode()
        at += path_length
        yield Piece(path, position, data[at : at + length])
        at += length


def _checksum(frame: bytearray | memoryview) -> int:
    return crc32c(memoryview(frame)[_CRC_FROM:])


def _content(storage: Storage, path: str) -> memoryview:
    size = storage.size(path)
    return storage.read(path, 0, size) if size else memoryview(b"")


def _merged(frames: Iterable[Frame]) -> dict[str, list[tuple[int, bytearray]]]:
    """Positions and bytes by file, adjacent pieces as one."""
    merged: dict[str, list[tuple[int, bytearray]]] = {}
    for frame in frames:
        for path, position, data in frame.pieces:
            if position == VOID:
                above = path + "/"
                for ended in [each for each in merged if each == path or each.startswith(above)]:
                    del merged[ended]
                continue
            runs = merged.setdefault(path, [])
            end = runs[-1][0] + len(runs[-1][1]) if runs else -1
            if position < end:
                raise CorruptLog(
                    f"{path}: {position} was journalled after {end}: restore the journal from a"
                    " copy; without one, move it away to go on without the newest records"
                )
            if position == end:
                runs[-1][1].extend(data)
            else:
                runs.append((position, bytearray(data)))
    return merged


def _restore(
    storage: Storage, path: str, runs: list[tuple[int, bytearray]], found: Replay
) -> list[Operation]:
    size = storage.size(path)
    if size is None:
        # Who removes a file ends its frames with the next one: somebody else took it away, or the
        # crash came in between.
        found.report.append(f"{path} is gone: what the journal holds for it is left out")
        return []
    operations: list[Operation] = []
    for position, data in runs:
        if not data and position > size:
            continue  # a note of an earlier recovery; since then the file was exchanged
        if position > size:
            raise CorruptLog(
                f"{path}: ends at byte {size}, was synced up to {position}: the disk lost it;"
                f" {way_out(path.partition('/')[0])}"
            )
        end = position + len(data)
        if storage.read(path, position, len(data)) != data:
            operations.append(Overwrite(path, position, data))
        size = max(size, end)
        found.synced[path] = end
    return [*operations, Flush(path)]
