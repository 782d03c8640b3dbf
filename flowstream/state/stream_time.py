"""Event time of a table partition whose rows end: the greatest of the units that wrote to it.

Pure. What is deleted and recorded goes by units that may commit alone (S8). Units that wait for
another agent of their topic count for their own agent until then: it has seen them, and a crash
would undo them for it as well.
"""

from __future__ import annotations


class StreamTime:
    """How far a table partition's event time has come."""

    __slots__ = ("_recorded_ms", "_row", "ahead", "stream_time_ms")

    def __init__(self, row: bytes, recorded: bytes | None) -> None:
        """It is kept in this row, which holds `recorded`."""
        self._row = row
        self.stream_time_ms = self._recorded_ms = -1 if recorded is None else int(recorded)
        self.ahead: dict[str, int] = {}
        """By agent: the greatest event time of its units that waited."""

    def seen_ms(self, agent: str) -> int:
        """The greatest event time for a unit of this agent."""
        return max(self.stream_time_ms, self.ahead.get(agent, -1))

    def defer(self, agent: str, at_ms: int) -> None:
        """A unit of this agent at this event time wrote rows, and may not commit yet."""
        self.ahead[agent] = max(at_ms, self.ahead.get(agent, -1))

    def record_time(self, rows: dict[bytes, bytes | None]) -> None:
        """Add the event time to the epoch's rows when it has moved."""
        if self.stream_time_ms > self._recorded_ms:
            rows[self._row] = b"%d" % self.stream_time_ms
            self._recorded_ms = self.stream_time_ms
