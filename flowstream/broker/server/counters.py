"""What the shell counts for those who watch a broker: plain numbers, no library, no names.

Only a broker that serves metrics has counters at all: `None` in their place costs the others one
comparison per request. Sums alone grow here; rates and percentiles are the reader's affair.
"""

from __future__ import annotations

from collections.abc import Callable

from flowstream.clock import monotonic_ns

APIS = 128
"""API keys below this are counted by themselves; Kafka has not reached it."""

BUCKETS = 14
"""Bucket i of a histogram counts durations below 4**i microseconds, the last one all longer ones
too (16.8 s).
"""


def bucket_of(nanoseconds: int) -> int:
    """The bucket of a duration.

    >>> bucket_of(999), bucket_of(1_000), bucket_of(4_000), bucket_of(90_000_000_000)
    (0, 1, 2, 13)
    """
    return min((nanoseconds // 1_000).bit_length() + 1 >> 1, BUCKETS - 1)


class Durations:
    """A histogram: how many, how long together, and how many in each bucket."""

    __slots__ = ("buckets", "count", "nanoseconds")

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.count = 0
        self.nanoseconds = 0
        self.buckets = [0] * BUCKETS

    def add(self, nanoseconds: int) -> None:
        """One more."""
        self.count += 1
        self.nanoseconds += nanoseconds
        self.buckets[bucket_of(nanoseconds)] += 1


class ApiCounters:
    """One API: requests, and from the arrival of a request to its answer being ready to leave."""

    __slots__ = ("request_bytes", "requests", "response_bytes", "times")

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.requests = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.times = Durations()


class Counters:
    """Everything that is counted, from the start of the process on."""

    __slots__ = (
        "_apis", "accepted", "bytes_in", "bytes_out", "clock", "let_go", "refused", "syncs",
        "throttled", "throttled_ms",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], int] = monotonic_ns) -> None:
        """All zero. `clock` gives nanoseconds that never go back."""
        self.clock = clock
        self.accepted = 0
        """Connections taken."""
        self.refused = 0
        """Connections turned away at a bound."""
        self.let_go = 0
        """Connections closed because all together held too much memory."""
        self.throttled = 0
        self.throttled_ms = 0
        """How often, and how long together, clients were muted because of a quota."""
        self.bytes_in = 0
        self.bytes_out = 0
        """Bytes of client connections, frames and all."""
        self.syncs = Durations()
        """The group commits of durability `fsync`."""
        self._apis: list[ApiCounters | None] = [None] * APIS

    def asked(self, key: int, size: int) -> None:
        """A request of `size` bytes has come."""
        api = self._apis[key]
        if api is None:
            api = self._apis[key] = ApiCounters()
        api.requests += 1
        api.request_bytes += size

    def answered(self, key: int, since: int, size: int) -> None:
        """An answer of `size` bytes to a request that came at `since` is ready to leave."""
        api = self._apis[key]
        if api is not None:  # not counted: an ApiVersions request in an unknown version
            api.response_bytes += size
            api.times.add(self.clock() - since)

    def by_api(self) -> list[tuple[int, ApiCounters]]:
        """The APIs that were asked for, by number."""
        return [(key, api) for key, api in enumerate(self._apis) if api is not None]
