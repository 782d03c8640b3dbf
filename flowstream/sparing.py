"""Lines of one kind that come by the thousand: the first of a while are told, the others counted.

Knows no clock and no loop: both are arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

Later = Callable[[float, Callable[[], None]], object]
"""Has a function called so many seconds later."""


class Sparing:
    """Which lines are told: `most` in `every_s` seconds.

    >>> lines = Sparing(10.0, most=2)
    >>> [lines.tells(0.0) for _ in range(5)], lines.tells(10.0)
    ([0, 0, None, None, None], 3)
    """

    def __init__(self, every_s: float, most: int = 1) -> None:
        self.every_s = every_s
        self._most = most
        self._since_s: float | None = None
        self._told = 0
        self.left_out = 0
        """Not told of yet."""

    def tells(self, now_s: float) -> int | None:
        """How many were left out before this line; None when this one is, too."""
        # A clock that was put back begins anew, too.
        if self._since_s is None or not 0 <= now_s - self._since_s < self.every_s:
            self._since_s, self._told = now_s, 0
        if self._told < self._most:
            self._told += 1
            return self.rest()
        self.left_out += 1
        return None

    def rest(self) -> int:
        """How many were left out and not told of yet: they count as told now."""
        left_out, self.left_out = self.left_out, 0
        return left_out


class SparingLog:
    """Warnings of one kind. The last one of a burst is told as well, with the number of those that
    were left out: when the while is over, or when nobody will warn any more.
    """

    def __init__(self, log: logging.Logger, every_s: float, most: int = 1) -> None:
        self._log = log
        self._lines = Sparing(every_s, most)
        self._last: object = None
        """The last line, if it was left out."""
        self._is_timed = False

    def warn(self, line: object, now_s: float, later: Later) -> None:
        """Log a line, or count it. It is made a text only if it is told: where lines come with
        every event, making them costs more than all else.
        """
        left_out = self._lines.tells(now_s)
        if left_out is not None:
            self._last = None
            self._log.warning("%s%s", line, and_more(left_out))
            return
        self._last = line
        if not self._is_timed:
            self._is_timed = True
            every_s = self._lines.every_s
            later(every_s, lambda: self._tick(now_s + every_s, later))

    def _tick(self, now_s: float, later: Later) -> None:
        """Offer the last line again: the next while begins with it, or it waits on."""
        self._is_timed = False
        if self._last is not None:
            self._lines.left_out -= 1
            self.warn(self._last, now_s, later)

    def flush(self) -> None:
        """Tell of what was left out, if anything was."""
        line, self._last = self._last, None
        if line is not None:
            self._log.warning("%s%s", line, and_more(self._lines.rest() - 1))


def and_more(count: int) -> str:
    """What is said behind a line of those that were left out before it.

    >>> and_more(3), and_more(0)
    (' (and 3 more before it)', '')
    """
    return f" (and {count} more before it)" if count else ""
