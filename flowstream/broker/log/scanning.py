"""Walking a segment's batches on disk, header by header or whole. Reads only; what a bad batch
means is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowstream.broker.doors import Storage
from flowstream.wire.batch import HEADER_SIZE, BatchHeader, read_header
from flowstream.wire.batch_header import MAGIC

CHUNK = 64 * 1024


def headers(
    storage: Storage, path: str, position: int, end: int
) -> Iterator[tuple[int, BatchHeader]]:
    """Position and header of each whole batch between two positions; stops where none can begin.

    Small batches are read many at a time, of large ones only the header.
    """
    chunk = memoryview(b"")
    chunk_at = position
    while end - position >= HEADER_SIZE:
        if position + HEADER_SIZE > chunk_at + len(chunk):
            chunk = storage.read(path, position, min(CHUNK, end - position))
            chunk_at = position
            if len(chunk) < HEADER_SIZE:
                return
        header = read_header(chunk, position - chunk_at)
        if header.magic != MAGIC or header.size < HEADER_SIZE or position + header.size > end:
            return
        yield position, header
        position += header.size


def whole_batches(
    storage: Storage, path: str, position: int, end: int
) -> Iterator[tuple[int, BatchHeader, memoryview]]:
    """Position, header and bytes of each whole batch between two positions; stops where none can
    begin.
    """
    chunk = memoryview(b"")
    chunk_at = position
    while end - position >= HEADER_SIZE:
        if position + HEADER_SIZE > chunk_at + len(chunk):
            chunk = storage.read(path, position, min(CHUNK, end - position))
            chunk_at = position
            if len(chunk) < HEADER_SIZE:
                return
        at = position - chunk_at
        header = read_header(chunk, at)
        if header.magic != MAGIC or header.size < HEADER_SIZE or position + header.size > end:
            return
        if at + header.size > len(chunk):
            chunk = storage.read(path, position, min(max(CHUNK, header.size), end - position))
            chunk_at, at = position, 0
            if len(chunk) < header.size:
                return
        yield position, header, chunk[at : at + header.size]
        position += header.size
