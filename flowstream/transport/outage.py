"""While no broker of a cluster can be reached: told at once, then once in a while, and when it is
over.

Pure: it decides, and whoever has the clock and the log tells.
"""

from __future__ import annotations

EVERY_MS = 10_000
"""Between two lines about one outage."""


class Outage:
    """The outage of one cluster, if there is one."""

    def __init__(self) -> None:
        self._since_ms: int | None = None
        self._told_ms = 0

    @property
    def lasts(self) -> bool:
        """Whether nothing answers at this time."""
        return self._since_ms is not None

    def goes_on(self, now_ms: int) -> bool:
        """Nothing answers: whether that is to be told once more."""
        if self._since_ms is None:
            self._since_ms = now_ms
        elif now_ms - self._told_ms < EVERY_MS:
            return False
        self._told_ms = now_ms
        return True

    def ends(self, now_ms: int) -> int | None:
        """Something answers: how long nothing did, in milliseconds, the first time."""
        since, self._since_ms = self._since_ms, None
        return None if since is None else now_ms - since
