"""The thread that syncs files off the event loop, one sync at a time: the group commit of
durability `fsync`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from flowstream.broker.doors import Storage


class SyncThread:
    """Syncs the paths of write groups. `done(group, error)` is called on the loop after each sync;
    an error is final (D2).
    """

    def __init__(
        self,
        storage: Storage,
        loop: asyncio.AbstractEventLoop,
        done: Callable[[int, BaseException | None], None],
    ) -> None:
        self.busy = False
        self.group = 0  # newest group that a sync was started for
        self._storage = storage
        self._loop = loop
        self._done = done
        self._idle = asyncio.Event()
        self._idle.set()
        self._work: SimpleQueue[tuple[set[str], int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flowstream-sync", daemon=True)
        self._thread.start()

    def start(self, paths: set[str], group: int) -> None:
        """Sync `paths`, which hold all that groups up to `group` wrote since the last sync."""
        assert not self.busy, "one sync at a time"
        self.busy = True
        self.group = group
        self._idle.clear()
        self._work.put((paths, group))

    async def idle(self) -> None:
        """Wait until no sync is running."""
        await self._idle.wait()

    def end(self) -> None:
        """End the thread. One that hangs in the disk ends with the process."""
        self._work.put(None)
        if not self.busy:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            paths, group = work
            error: BaseException | None = None
            try:
                self._storage.sync(paths)
            except BaseException as caught:  # noqa: BLE001 - the outermost line of the thread: the loop must hear of it
                error = caught
            try:
                self._loop.call_soon_threadsafe(self._finished, group, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _finished(self, group: int, error: BaseException | None) -> None:
        self.busy = False
        self._idle.set()
        self._done(group, error)
