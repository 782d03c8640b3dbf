"""Windows: which spans of event time hold an instant, when they end, and how a row is named.

Pure arithmetic on integer milliseconds; knows nothing of tables, clocks or streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flowstream.processing.time.digits import DIGITS

_SUFFIX = 1 + DIGITS
STREAM_TIME_KEY = b"@stream-time"
"""The row that holds a windowed partition's greatest event time; no window row looks like it."""


@dataclass(frozen=True, slots=True)
class Window:
    """Windows of `size_ms` that start every `step_ms`; kept `expires_ms` after their end.

    Tumbling windows have step = size. `expires_ms` None keeps them for ever. With `grace_ms` they
    close: once the watermark is that far past its end, a window's value is final.
    """

    size_ms: int
    step_ms: int
    expires_ms: int | None = None
    grace_ms: int | None = None

    def __post_init__(self) -> None:
        if self.size_ms <= 0 or self.step_ms <= 0:
            raise ValueError("a window's size and step must be at least one millisecond")
        if self.step_ms > self.size_ms:
            raise ValueError("a step longer than the window would lose events between windows")
        if self.expires_ms is not None and self.expires_ms < 0:
            raise ValueError("expires must not be negative")
        if self.grace_ms is not None and self.grace_ms < 0:
            raise ValueError("grace must not be negative")

    @property
    def written_as(self) -> bytes:
        """What tells rows of these windows from those of others, and may not change under them."""
        return b"windows of %d ms that start every %d ms" % (self.size_ms, self.step_ms)

    def starts(self, at_ms: int) -> range:
        """Starts of every window [start, start + size) that holds `at_ms`, oldest first.

        >>> list(Window(size_ms=10, step_ms=5).starts(12))
        [5, 10]
        """
        return range(self.earliest(at_ms), at_ms + 1, self.step_ms)

    def current(self, at_ms: int) -> int:
        """Start of the window that began last and holds `at_ms`."""
        return at_ms - at_ms % self.step_ms

    def earliest(self, at_ms: int) -> int:
        """Start of the window that began first and still holds `at_ms`: the longest view back."""
        past = at_ms - self.size_ms
        return past - past % self.step_ms + self.step_ms

    def is_expired(self, start_ms: int, stream_time_ms: int) -> bool:
        """True when the window is past keeping at this event time."""
        if self.expires_ms is None:
            return False
        return start_ms + self.size_ms + self.expires_ms <= stream_time_ms

    @property
    def closes(self) -> bool:
        """True when windows close."""
        return self.grace_ms is not None

    def closes_ms(self, start_ms: int) -> int | None:
        """The watermark at which the window's value is final, None when it never is."""
        return None if self.grace_ms is None else start_ms + self.size_ms + self.grace_ms

    def is_closed(self, start_ms: int, watermark_ms: int) -> bool:
        """True when the window's value is final at this watermark."""
        return self.grace_ms is not None and (
            start_ms + self.size_ms + self.grace_ms <= watermark_ms
        )


class WindowRange(NamedTuple):
    """A window as Faust names it, in seconds; `end` is exclusive."""

    start: float
    end: float


def window_key(key: bytes, start_ms: int) -> bytes:
    """The row's name in store and changelog: key, `@`, the start as 16 readable digits."""
    return b"%b@%016d" % (key, start_ms)  # each event of a window comes by here


def window_bounds(key: bytes) -> tuple[bytes, bytes]:
    """From where up to where the rows of a key's windows lie, also of those before 1970. So may
    rows of other keys: `split_window_key` tells them apart.
    """
    return key + b"@-", key + b"@:"


def split_window_key(row: bytes) -> tuple[bytes, int] | None:
    """Key and start of a window's row, or None when the row is not a window's."""
    at = len(row) - _SUFFIX
    if at < 0 or row[at] != 0x40:
        return None
    digits = row[at + 1 :]
    if not digits.removeprefix(b"-").isdigit():
        return None
    return row[:at], int(digits)


class Expiry:
    """Which rows end when: fed every row written, asked what is due at an event time."""

    __slots__ = ("_rows", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self._rows: dict[int, dict[bytes, None]] = {}

    def add(self, row: bytes) -> None:
        """Remember a row (any other row of the table is ignored)."""
        found = split_window_key(row)
        if found is not None:
            self._rows.setdefault(found[1], {})[row] = None

    def due(self, stream_time_ms: int, most: int) -> list[bytes]:
        """Rows whose window has expired, at most so many, oldest window first; they are forgotten
        here.
        """
        found: list[bytes] = []
        for start in sorted(s for s in self._rows if self.window.is_expired(s, stream_time_ms)):
            rows = self._rows[start]
            # From the end: whoever walks from the front walks over all that were taken before.
            found += [rows.popitem()[0] for _ in range(min(len(rows), most - len(found)))]
            if rows:
                break
            del self._rows[start]
        return found
