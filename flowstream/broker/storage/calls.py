"""System calls that finish what they began, and whose refusal names the path; what paths mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from flowstream.broker.doors import Buffer, Operation, Rename
from flowstream.broker.storage.refusal import refused

T = TypeVar("T")


@contextmanager
def named(path: str) -> Iterator[None]:
    """Name the path and the remedy in what the system says."""
    try:
        yield
    except OSError as error:
        raise refused(path, error) from error


_IOV_MAX = 1024


def write_all(descriptor: int, buffers: list[Buffer]) -> None:
    """As few system calls as there can be."""
    for start in range(0, len(buffers), _IOV_MAX):
        _write_some(descriptor, buffers[start : start + _IOV_MAX])


def _write_some(descriptor: int, buffers: list[Buffer]) -> None:
    """One system call, unless the disk takes only a part: then the next one says why."""
    written = os.writev(descriptor, buffers)
    total = sum(len(buffer) for buffer in buffers)
    if written < total:
        rest = memoryview(b"".join(buffers))
        while written < total:
            written += os.write(descriptor, rest[written:])


def write_at(descriptor: int, position: int, data: Buffer) -> None:
    """Over what is there."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, position)
        rest, position = rest[written:], position + written


def write_new(full: str, data: Buffer, *, sync: bool) -> None:
    """A file with this content and nothing else."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(full, flags, 0o644)
    try:
        write_all(descriptor, [data])
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(full: str) -> None:
    """Make the names in a directory durable; one that was deleted meanwhile has none."""
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def inside(names: Iterable[str], path: str) -> list[str]:
    """Those of `names` that are `path` or in it."""
    above = path + "/"
    return [name for name in names if name == path or name.startswith(above)]


def for_each(call: Callable[[T], object], paths: Iterable[T]) -> None:
    """One after the other."""
    for path in paths:
        call(path)


def moves_directory(operation: Operation) -> bool:
    """Of these the order does not matter: one sync of the root is enough for many."""
    return isinstance(operation, Rename) and "/" not in operation.path
