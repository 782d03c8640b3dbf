"""A broker that is away is good for a line at once, one now and then, and one when it is back."""

from __future__ import annotations

from flowstream.transport.outage import Outage


def test_it_is_told_at_once_then_seldom_and_its_end_once() -> None:
    outage = Outage()
    assert outage.ends(0) is None
    assert [now for now in range(0, 25_000, 250) if outage.goes_on(now)] == [0, 10_000, 20_000]
    assert outage.lasts
    assert outage.ends(25_000) == 25_000
    assert not outage.lasts
    assert outage.ends(25_001) is None
    assert outage.goes_on(25_002)
    assert outage.ends(25_100) == 98
