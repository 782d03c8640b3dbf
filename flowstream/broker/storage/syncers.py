"""The threads that sync many files at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

from flowstream.broker.storage.calls import for_each

T = TypeVar("T")

SYNC_THREADS = 8
"""Files synced at a time: a filesystem merges the journal commits of concurrent syncs."""


class Syncers:
    """Threads that begin with the first work that needs them."""

    def __init__(self) -> None:
        """None yet."""
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None

    def each(self, sync: Callable[[T], object], paths: Collection[T]) -> None:
        """Sync every path, or what stands for one; the first error is raised."""
        if len(paths) <= 1:
            for_each(sync, paths)
            return
        # Not one task for each: there may be thousands.
        listed = list(paths)
        runs = [listed[at::SYNC_THREADS] for at in range(min(SYNC_THREADS, len(listed)))]
        list(self._started().map(partial(for_each, sync), runs))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="sync")
            return self._pool
