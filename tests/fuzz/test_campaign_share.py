"""X3, X4: a bounded share of the campaign that `python -m tests.fuzz` runs at length."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import node, wire


@pytest.mark.parametrize("seed", range(1, 5))
def test_X4_damaged_messages_give_a_value_or_wire_error(seed: int) -> None:
    seen = wire(seed)
    assert seen["refused"] > 0
    assert seen["decoded"] > 0


@pytest.mark.parametrize("seed", range(1, 3))
def test_X4_odd_requests_leave_an_innocent_client_served(seed: int) -> None:
    assert node(seed, 300)["answered"] > 0
