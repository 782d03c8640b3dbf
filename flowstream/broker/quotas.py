"""How fast clients may go: rates over Kafka's windows, and for how long who is too fast is not read
(KIP-13, KIP-55, KIP-124, KIP-219, KIP-599).

Pure: `now` and amounts in, milliseconds out. What is counted is soft state, gone after a restart.
It must not know requests, records or how a connection is muted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from flowstream.broker.addresses import spelled
from flowstream.broker.types import Instant

PRODUCE = "producer_byte_rate"
FETCH = "consumer_byte_rate"
CONNECT = "connection_creation_rate"
MUTATE = "controller_mutation_rate"
REQUEST = "request_percentage"

SAMPLES = 11
"""`quota.window.num`."""
WINDOW_MS = 1000
"""`quota.window.size.seconds`."""
NS_PER_PERCENT = 10_000_000
"""Nanoseconds of each second that one per cent is."""
REMEMBERED = 1024
"""Clients whose rates are kept before those that are at rest are looked for (X3)."""

LONGEST_THROTTLE_MS = 2**31 - 1
"""What an answer can tell."""

Entity = tuple[tuple[str, str | None], ...]
_Tags = tuple[str | None, str | None]
"""Whose rate is one: user and client id, None where all of them count together."""


class Rate:
    """An amount per second over the last windows; at first as if the windows before were empty."""

    __slots__ = ("_samples", "_total")

    def __init__(self) -> None:
        self._samples: deque[list[int]] = deque()  # [begin, amount], oldest first
        self._total = 0

    def record(self, amount: int, now: Instant) -> None:
        """`amount` happened."""
        self._forget(now)
        if not self._samples or now - self._samples[-1][0] >= WINDOW_MS:
            self._samples.append([now, 0])
        self._samples[-1][1] += amount
        self._total += amount

    def excess_ms(self, limit: float, now: Instant) -> int:
        """How long nothing must happen until the rate is `limit` per second again; 0 when it is not
        above.
        """
        self._forget(now)
        if not self._samples:
            return 0
        elapsed = now - self._samples[0][0]
        elapsed += max(0, SAMPLES - 1 - elapsed // WINDOW_MS) * WINDOW_MS
        return throttle_ms(self._total * 1000 / limit - elapsed)

    def at_rest(self, now: Instant) -> bool:
        """Whether nothing happened lately."""
        self._forget(now)
        return not self._samples

    def _forget(self, now: Instant) -> None:
        samples = self._samples
        while samples and now - samples[0][0] >= SAMPLES * WINDOW_MS:
            self._total -= samples.popleft()[1]


def throttle_ms(wait_ms: float) -> int:
    """A time to wait as answers can tell it: whole, not negative, and an INT32."""
    return round(min(max(0.0, wait_ms), LONGEST_THROTTLE_MS))


class Bucket:
    """Tokens that come at a rate up to what the windows hold, and are taken: below none the taker
    has to wait (KIP-599).
    """

    __slots__ = ("_at", "_limit", "_tokens")

    def __init__(self) -> None:
        self._tokens: float | None = None  # full
        self._limit = 0.0
        self._at = Instant(0)

    def take(self, amount: int) -> None:
        """`amount` happened. Call `excess_ms` first."""
        assert self._tokens is not None
        self._tokens -= amount

    def excess_ms(self, limit: float, now: Instant) -> int:
        """How long nothing must happen until there is no debt; 0 when there is none."""
        burst = limit * SAMPLES * WINDOW_MS / 1000
        if self._tokens is None:
            self._tokens = burst
        self._tokens = min(burst, self._tokens + (now - self._at) * limit / 1000)
        self._limit, self._at = limit, now
        return throttle_ms(-self._tokens * 1000 / limit)

    def at_rest(self, now: Instant) -> bool:
        """Whether it is full again."""
        burst = self._limit * SAMPLES * WINDOW_MS / 1000
        return self._tokens is None or (
            self._tokens + (now - self._at) * self._limit / 1000 >= burst
        )


class Quotas:
    """The rates of all clients that have a quota. `limited` names the quotas that anybody has: look
    there first, it costs nothing.
    """

    def __init__(self) -> None:
        self.limited: frozenset[str] = frozenset()
        self.measure_time = False
        """Whether anybody has a quota of the broker's time."""
        self._limits: Mapping[Entity, Mapping[str, float]] = {}
        self._limits_by_host: dict[str | None, Mapping[str, float]] = {}
        self._rates: _Remembered[tuple[str, _Tags], Rate] = _Remembered(Rate)
        self._buckets: _Remembered[_Tags, Bucket] = _Remembered(Bucket)

    def follow(self, limits: Mapping[Entity, Mapping[str, float]]) -> None:
        """These are the quotas from now on; what was counted still counts."""
        self._limits = limits
        self._limits_by_host = {
            name and spelled(name): each
            for entity, each in limits.items()
            for type, name in entity
            if type == "ip"
        }
        self.limited = frozenset(key for each in limits.values() for key in each)
        self.measure_time = REQUEST in self.limited

    def client_throttle_ms(
        self, key: str, user: str, client_id: str, amount: int, now: Instant
    ) -> int:
        """Count `amount` for a client, and how long it is to be muted."""
        limit, tags = self._limit(key, user, client_id)
        if limit is None:
            return 0
        rate = self._rates.of((key, tags), now)
        rate.record(amount, now)
        return rate.excess_ms(limit, now)

    def time_throttle_ms(self, user: str, client_id: str, spent_ns: int, now: Instant) -> int:
        """Count time that was spent on a client's requests, and how long it is to be muted: never
        longer than a window. 100 % is all the time of one thread (KIP-124).
        """
        limit, tags = self._limit(REQUEST, user, client_id)
        if limit is None:
            return 0
        rate = self._rates.of((REQUEST, tags), now)
        rate.record(spent_ns, now)
        return min(WINDOW_MS, rate.excess_ms(limit * NS_PER_PERCENT, now))

    def mutation_throttle_ms(
        self, user: str, client_id: str, amount: int, now: Instant, *, strict: bool
    ) -> int:
        """Count `amount` created or deleted partitions for a client, and how long it has to wait.
        `strict`: nothing counts, and nothing is to be done, while it has to wait.
        """
        limit, tags = self._limit(MUTATE, user, client_id)
        if limit is None:
            return 0
        bucket = self._buckets.of(tags, now)
        wait_ms = bucket.excess_ms(limit, now)
        if strict and wait_ms:
            return wait_ms
        bucket.take(amount)
        return 0 if strict else bucket.excess_ms(limit, now)

    def most_at_once(self, key: str, user: str, client_id: str) -> int | None:
        """What the quota of a client allows in all windows but one: more at a time would have it
        wait for longer than that. None without a quota.
        """
        limit, _ = self._limit(key, user, client_id)
        return None if limit is None else int(limit * (SAMPLES - 1) * WINDOW_MS / 1000)

    def admits(self, host: str, now: Instant) -> bool:
        """Whether `host` may make one more connection now; it counts when it may."""
        for name in (host, None):
            limit = self._limits_by_host.get(name, {}).get(CONNECT)
            if limit is not None:
                rate = self._rates.of((CONNECT, (host, None)), now)
                rate.record(1, now)
                if rate.excess_ms(limit, now) == 0:
                    return True
                rate.record(-1, now)
                return False
        return True

    def _limit(self, key: str, user: str, client_id: str) -> tuple[float | None, _Tags]:
        for entity, tags in _candidates(user, client_id):
            limit = self._limits.get(entity, {}).get(key)
            if limit is not None:
                return limit, tags
        return None, (None, None)


class _Counted(Protocol):
    def at_rest(self, now: Instant, /) -> bool: ...


K = TypeVar("K")
V = TypeVar("V", bound=_Counted)


class _Remembered(Generic[K, V]):
    """What is counted of whom. Clients may call themselves what they like: when there are many,
    those at rest are forgotten. One at rest is as a new one.
    """

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._found: dict[K, V] = {}
        self._sweep_at = REMEMBERED

    def __len__(self) -> int:
        return len(self._found)

    def of(self, key: K, now: Instant) -> V:
        found = self._found.get(key)
        if found is not None:
            return found
        if len(self._found) >= self._sweep_at:
            self._found = {k: each for k, each in self._found.items() if not each.at_rest(now)}
            self._sweep_at = max(REMEMBERED, 2 * len(self._found))
        made = self._found[key] = self._make()
        return made


def _candidates(user: str, client_id: str) -> tuple[tuple[Entity, _Tags], ...]:
    """Kafka's order, and who shares the quota: a default is each one's own."""
    both, per_user, per_client = (user, client_id), (user, None), (None, client_id)
    return (
        ((("client-id", client_id), ("user", user)), both),
        ((("client-id", None), ("user", user)), both),
        ((("user", user),), per_user),
        ((("client-id", client_id), ("user", None)), both),
        ((("client-id", None), ("user", None)), both),
        ((("user", None),), per_user),
        ((("client-id", client_id),), per_client),
        ((("client-id", None),), per_client),
    )
