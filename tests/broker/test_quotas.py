"""Rates over Kafka's windows, and whose quota is whose."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.broker.quotas import (
    CONNECT,
    MUTATE,
    PRODUCE,
    REMEMBERED,
    REQUEST,
    SAMPLES,
    WINDOW_MS,
    Entity,
    Quotas,
    Rate,
)
from flowstream.broker.types import Instant

NOW = 1_700_000_000_000


def quotas(*limits: tuple[Entity, float]) -> Quotas:
    made = Quotas()
    made.follow({entity: {PRODUCE: limit} for entity, limit in limits})
    return made


def test_a_burst_counts_over_ten_seconds_as_in_kafka() -> None:
    rate = Rate()
    rate.record(1000, Instant(NOW))
    assert rate.excess_ms(100, Instant(NOW)) == 0
    rate.record(500, Instant(NOW))
    assert rate.excess_ms(100, Instant(NOW)) == 5000
    assert rate.excess_ms(100, Instant(NOW + 999)) == 4001
    assert rate.excess_ms(100, Instant(NOW + 1000)) == 5000, "a window more is full, none is idle"


def test_a_percentage_is_of_one_threads_time_and_nobody_waits_longer_than_a_window() -> None:
    made = Quotas()
    made.follow({(("client-id", "c"),): {REQUEST: 10.0}})
    assert made.measure_time
    spent = 100_000_000  # 10 % of a second
    for _ in range(10):
        assert made.time_throttle_ms("u", "c", spent, Instant(NOW)) == 0, "ten seconds' share"
    assert made.time_throttle_ms("u", "c", spent // 2, Instant(NOW)) == 500
    assert made.time_throttle_ms("u", "c", 50 * spent, Instant(NOW)) == WINDOW_MS
    assert made.time_throttle_ms("u", "another", 50 * spent, Instant(NOW)) == 0


def test_windows_are_forgotten_one_by_one() -> None:
    rate = Rate()
    rate.record(1000, Instant(NOW))
    rate.record(1, Instant(NOW + 5000))
    assert not rate.at_rest(Instant(NOW + SAMPLES * WINDOW_MS))
    assert rate.excess_ms(1, Instant(NOW + SAMPLES * WINDOW_MS)) == 0
    assert rate.at_rest(Instant(NOW + 5000 + SAMPLES * WINDOW_MS))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 300)), min_size=50, max_size=200))
def test_who_waits_as_told_stays_within_the_quota(steps: list[tuple[int, int]]) -> None:
    limit = 1000.0
    made = quotas(((("client-id", "c"),), limit))
    now, sent = NOW, 0
    for amount, pause in steps:
        sent += amount
        throttle_ms = made.client_throttle_ms(PRODUCE, "u", "c", amount, Instant(now))
        now += throttle_ms + pause
    windows_ms = SAMPLES * WINDOW_MS
    assert sent <= limit * (now - NOW + windows_ms) / 1000 * 1.15 + 5000


def test_the_strongest_quota_counts_and_a_default_is_each_ones_own() -> None:
    order: list[Entity] = [
        (("client-id", "c"), ("user", "u")),
        (("client-id", None), ("user", "u")),
        (("user", "u"),),
        (("client-id", "c"), ("user", None)),
        (("client-id", None), ("user", None)),
        (("user", None),),
        (("client-id", "c"),),
        (("client-id", None),),
    ]
    for at in range(len(order)):
        # Only the strongest of the rest is so low that anybody has to wait.
        limits = [(entity, 1.0 if n == 0 else 1e9) for n, entity in enumerate(order[at:])]
        made = quotas(*limits)
        assert made.client_throttle_ms(PRODUCE, "u", "c", 1000, Instant(NOW)) > 0
    own = quotas(((("client-id", None),), 1.0))
    assert own.client_throttle_ms(PRODUCE, "u", "a", 1000, Instant(NOW)) > 0
    assert own.client_throttle_ms(PRODUCE, "u", "b", 1, Instant(NOW)) == 0
    shared = quotas(((("user", "u"),), 1.0))
    assert shared.client_throttle_ms(PRODUCE, "u", "a", 1000, Instant(NOW)) > 0
    assert shared.client_throttle_ms(PRODUCE, "u", "b", 1, Instant(NOW)) > 0


def test_connections_beyond_the_rate_are_refused_and_do_not_count() -> None:
    made = Quotas()
    made.follow({(("ip", "10.0.0.1"),): {CONNECT: 1.0}, (("ip", None),): {CONNECT: 2.0}})
    admitted = [made.admits("10.0.0.1", Instant(NOW)) for _ in range(15)]
    assert admitted == [True] * 10 + [False] * 5
    assert [made.admits("10.0.0.2", Instant(NOW)) for _ in range(21)].count(True) == 20
    assert made.admits("10.0.0.1", Instant(NOW + SAMPLES * WINDOW_MS))


def test_X7_quotas_of_addresses_hold_in_any_spelling() -> None:
    """Apache Kafka's have the longest one; one of IPv4 inside IPv6 is that itself."""
    for told, host in (("2001:DB8:0:0:0:0:0:5", "2001:db8::5"), ("::ffff:10.0.0.5", "10.0.0.5")):
        made = Quotas()
        made.follow({(("ip", told),): {CONNECT: 1.0}})
        assert [made.admits(host, Instant(NOW)) for _ in range(15)].count(True) == 10


def test_mutations_are_taken_from_a_bucket() -> None:
    """KIP-599: what one request does may go into debt, the next one waits until there is none."""
    made = Quotas()
    made.follow({(("user", "u"),): {MUTATE: 2.0}})

    def asked(amount: int, after_ms: int, *, strict: bool = True) -> int:
        return made.mutation_throttle_ms("u", "c", amount, Instant(NOW + after_ms), strict=strict)

    assert asked(32, 0) == 0, "a full bucket holds 22"
    assert asked(1, 0) == 5_000
    assert asked(1, 4_999) > 0
    assert asked(1, 5_000) == 0, "what was refused did not count"
    assert asked(1, 5_000) == 500
    assert asked(10, 5_000, strict=False) == 5_500, "done, and the client waits"
    assert made.mutation_throttle_ms("v", "c", 10**6, Instant(NOW), strict=True) == 0


def test_X3_full_buckets_are_forgotten() -> None:
    made = Quotas()
    made.follow({(("client-id", None),): {MUTATE: 100.0}})
    for n in range(10 * REMEMBERED):
        made.mutation_throttle_ms("u", f"c{n}", 1, Instant(NOW + 20 * n), strict=True)
    assert len(made._buckets) <= 2 * REMEMBERED


def test_X3_clients_at_rest_are_forgotten() -> None:
    made = quotas(((("client-id", None),), 1000.0))
    for n in range(10 * REMEMBERED):
        made.client_throttle_ms(PRODUCE, "u", f"c{n}", 1, Instant(NOW + 20 * n))
    assert len(made._rates) <= 2 * REMEMBERED
