"""Windows as values, by Faust's names: `app.Table("counts", window=TumblingWindow(60))`.

Pure arithmetic on seconds over that of `windows`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from flowstream.processing.errors import AppError
from flowstream.processing.time.windows import Window as Spans
from flowstream.processing.time.windows import WindowRange
from flowstream.processing.values.durations import Seconds, milliseconds


@dataclass(frozen=True)
class Window:
    """Windows of `size` that start every `step`, kept for `expires` after their end; instants and
    spans are in seconds.
    """

    size: Seconds
    step: Seconds
    expires: Seconds | None = None

    @property
    def spans(self) -> Spans:
        """The same in milliseconds; AppError when there are no such windows."""
        kept = None if self.expires is None else milliseconds(self.expires)
        try:
            return Spans(milliseconds(self.size), milliseconds(self.step), kept)
        except ValueError as error:
            raise AppError(f"{self!r}: {error}") from None

    def __post_init__(self) -> None:
        _ = self.spans  # refuses what is none

    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Every window that holds an instant, oldest first.

        >>> [range.start for range in HoppingWindow(10, 5).ranges(12)]
        [5.0, 10.0]
        """
        return [self._range(start) for start in self.spans.starts(round(timestamp * 1000))]

    def current(self, timestamp: float) -> WindowRange:
        """The window that began last and holds an instant."""
        return self._range(self.spans.current(round(timestamp * 1000)))

    def earliest(self, timestamp: float) -> WindowRange:
        """The window that began first and still holds it."""
        return self._range(self.spans.earliest(round(timestamp * 1000)))

    def delta(self, timestamp: float, d: Seconds) -> WindowRange:
        """The window that was current so long before it."""
        return self._range(self.spans.current(round(timestamp * 1000) - milliseconds(d)))

    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Whether the window that began at an instant is past keeping at another one."""
        return self.spans.is_expired(round(timestamp * 1000), round(latest_timestamp * 1000))

    def _range(self, start_ms: int) -> WindowRange:
        return WindowRange(start_ms / 1000, (start_ms + self.spans.size_ms) / 1000)


class HoppingWindow(Window):
    """Windows of `size` that start every `step`: an instant is in size/step of them."""


class TumblingWindow(Window):
    """Windows of `size`, one after the other."""

    def __init__(self, size: Seconds, expires: float | datetime.timedelta | None = None) -> None:
        super().__init__(size, size, expires)
