"""One thread beside the loop: what has a connection to a database, and may wait for it long.

Shell. Nobody waits for the thread when the process ends: a database that is silent, or a lock that
another holds, would keep a worker that has stopped from going (V4). What it was at is rolled back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")


class Lane(Executor):
    """A thread that does one thing after the other."""

    def __init__(self, name: str) -> None:
        self._waiting: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Do something there; what is cancelled before its turn is not done."""
        done: Future[R] = Future()
        self._waiting.put((partial(fn, *args, **kwargs), done))
        return done

    def end(self) -> None:
        """Take nothing more; the thread ends behind what it has."""
        self._waiting.put(None)

    def _run(self) -> None:
        while (turn := self._waiting.get()) is not None:
            work, done = turn
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work())
                except BaseException as error:  # noqa: BLE001 - it is told where it is awaited
                    done.set_exception(error)
            del turn, work, done
