"""The states of a classic group and the moves between them, as a table. Nothing else.

| state | join | sync | heartbeat | plain commit |
|---|---|---|---|---|
| Empty | rebalances | unknown member | unknown member | without a generation only |
| PreparingRebalance | waits for the others | rebalance | rebalance | current generation |
| CompletingRebalance | answered or rebalances | waits for the leader | fine | rebalance |
| Stable | answered or rebalances | answered | fine | current generation |
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """Kafka's names for them."""

    EMPTY = "Empty"
    """No members; perhaps offsets."""
    PREPARING_REBALANCE = "PreparingRebalance"
    """Members are called to join the next generation."""
    COMPLETING_REBALANCE = "CompletingRebalance"
    """All have joined; the leader's assignment is awaited."""
    STABLE = "Stable"
    """Every member can have its assignment."""
    DEAD = "Dead"
    """Deleted."""


MOVES: Mapping[State, frozenset[State]] = {
    State.EMPTY: frozenset({State.PREPARING_REBALANCE, State.DEAD}),
    State.PREPARING_REBALANCE: frozenset({State.COMPLETING_REBALANCE, State.EMPTY, State.DEAD}),
    State.COMPLETING_REBALANCE: frozenset({State.STABLE, State.PREPARING_REBALANCE, State.DEAD}),
    State.STABLE: frozenset({State.PREPARING_REBALANCE, State.DEAD}),
    State.DEAD: frozenset(),
}
"""The states that each one can be left for."""
