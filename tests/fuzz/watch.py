"""What one input may cost, and which one it was: CPU time, memory, number.

The kernel's high-water mark sees every allocation, coarsely; a traced chunk sees Python's to the
byte.
"""

from __future__ import annotations

import resource
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

STALL_S = 1.0
"""CPU time that one input may take."""
FACTOR = 100
"""Bytes of memory for each byte of an input."""
MIB = 1 << 20
RESIDENT_SLACK = 12 * MIB
"""What the process may grow by at the same time for reasons of its own: code, caches, allocator."""
FORGET_EVERY = 50
"""Inputs after which the high-water mark is set back."""


class Finding(AssertionError):
    """An input did what none may."""


class Watch:
    """`with watch.over(size):` around each input. Raises Finding where it cost too much."""

    def __init__(self, *, traced: bool = False) -> None:
        self.number = -1
        """Of the input at work, or of the last one."""
        self.stalled: Finding | None = None
        """Kept, because what is interrupted may swallow it."""
        self._traced = traced
        self._due = 0
        self._before = 0
        self._peak = resident_peak()

    def over(self, size: int, *, more: int = 0) -> Self:
        """The next input is of `size` bytes; `more` bytes of memory are allowed by a setting."""
        self.number += 1
        self._due = FACTOR * size + more
        return self

    def allow(self, more: int) -> None:
        """The input at work made something that lasts: so many bytes are its due."""
        self._due += more

    def __enter__(self) -> Self:
        signal.setitimer(signal.ITIMER_PROF, STALL_S)
        if self.number % FORGET_EVERY == 0:
            forget_peak()
            self._peak = resident_peak()
        if self._traced:
            tracemalloc.reset_peak()
            self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if error is not None:
            return
        if self.stalled is not None:
            raise self.stalled
        before, self._peak = self._peak, resident_peak()
        self._check("resident", self._peak - before, RESIDENT_SLACK)
        if self._traced:
            self._check("traced", tracemalloc.get_traced_memory()[1] - self._before, MIB)

    def _check(self, what: str, grown: int, slack: int) -> None:
        if grown > self._due + slack:
            raise Finding(f"{grown} bytes of {what} memory where {self._due} + {slack} are allowed")

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        self.stalled = Finding(f"more than {STALL_S} s of CPU time")
        raise self.stalled


@contextmanager
def watching(*, traced: bool = False) -> Iterator[Watch]:
    """A watch, for the length of a block."""
    watch = Watch(traced=traced)
    before = signal.signal(signal.SIGPROF, watch.interrupt)
    traced = traced and not tracemalloc.is_tracing()
    if traced:
        tracemalloc.start()
    try:
        yield watch
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        if traced:
            tracemalloc.stop()


def resident_peak() -> int:
    """The most memory that this process has had since `forget_peak`, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Set the high-water mark back to what the process has now, where the system can."""
    try:
        with open("/proc/self/clear_refs", "w") as control:
            control.write("5")
    except OSError:
        pass


def resident() -> int:
    """The memory that this process has, in bytes."""
    try:
        with open("/proc/self/statm") as told:
            return int(told.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
