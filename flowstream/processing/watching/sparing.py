"""Lines of one kind that come by the thousand: the first ones are told, then some with a count.

Pure: it decides, and whoever has the clock and the log tells.
"""

from __future__ import annotations

EVERY_MS = 10_000
MOST = 10
"""So many are told in that time."""


class Sparing:
    """The lines of one kind.

    >>> lines = Sparing()
    >>> [lines.tells(0) for _ in range(MOST + 3)][MOST - 1 :], lines.tells(EVERY_MS)
    ([0, None, None, None], 3)
    """

    def __init__(self) -> None:
        self._since_ms: int | None = None
        self._told = 0
        self._left_out = 0

    def tells(self, now_ms: int) -> int | None:
        """How many were left out before this line; None when this one is, too."""
        if self._since_ms is None or not 0 <= now_ms - self._since_ms < EVERY_MS:
            left_out, self._left_out = self._left_out, 0
            self._since_ms, self._told = now_ms, 1
            return left_out
        if self._told < MOST:
            self._told += 1
            return 0
        self._left_out += 1
        return None
