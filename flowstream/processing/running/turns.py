"""Instances of one agent that work on the same rows: the sides of a join, windows that tell their
changes and what closes them.

An agent may await between the reading of such a row and the end of its unit, and a unit sees only
what is complete. So these instances take turns, one unit at a time; else two events could meet
past each other, or what is over could be written anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from flowstream.processing.events.event import Arrival
from flowstream.processing.running.firing import InnerInstance
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.sensing import SensedInstance

MOST_IN_A_ROW = 100
"""Units of one instance before another that waits has its turn."""
LONGEST_S = 0.05
"""Its turn is over after so long, too: an agent may await in each unit."""


class Turns:
    """Whose turn it is, of one agent's instances in one task."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.members: list[TurnInstance | TurnInner] = []
        self.clock = clock
        self._last: Instance | None = None
        self._in_a_row = 0
        self._since_s = 0.0

    def may_begin(self, one: Instance) -> bool:
        """Whether an instance may begin a unit; if not, it is woken when that may have changed."""
        others = [each for each in self.members if each is not one]
        if any(each.record is not None for each in others):
            return False
        now = self.clock()
        if one is not self._last or not self._in_a_row:
            self._last, self._in_a_row, self._since_s = one, 0, now
        self._in_a_row += 1
        is_over = self._in_a_row > MOST_IN_A_ROW or now - self._since_s >= LONGEST_S
        if not is_over or not any(each.wants_turn for each in others):
            return True
        self._in_a_row = 0
        for each in others:
            each.wake()
        # Whoever is woken may find that it cannot begin after all.
        asyncio.get_running_loop().call_soon(one.wake)
        return False

    def ended(self, one: Instance) -> None:
        """An instance has no open unit any more."""
        for each in self.members:
            if each is not one:
                each.wake()


class TakesTurns(Instance):
    """What both kinds have."""

    turns: Turns

    def complete(self) -> None:
        """See `UnitFeed.complete`."""
        super().complete()
        self.turns.ended(self)

    def _give_back(self, records: Sequence[Arrival]) -> None:
        super()._give_back(records)
        self.turns.ended(self)


class TurnInstance(TakesTurns):
    """One that reads a topic's partition."""

    @property
    def wants_turn(self) -> bool:
        """Whether there is something for it to begin."""
        return bool(self.ready)

    advance = Instance.go_on

    def _pop(self) -> Arrival | None:
        if self.record is None and not self._may_begin():
            return None
        return super()._pop()

    def _may_begin(self) -> bool:
        # In the midst of a step that agents share, whoever is stopped stops them all.
        if not self.ready or (not self._shared and self.task.is_clogged):
            return False
        return self.turns.may_begin(self)


class TurnInner(TakesTurns, InnerInstance):
    """One that reads rows that come due."""

    @property
    def wants_turn(self) -> bool:
        """Whether there is something for it to begin."""
        return bool(self.ready) or self.is_due

    def take_ready(self) -> Arrival | None:
        """The next row that is due, if it is its turn."""
        if self.record is None and self.wants_turn and not self.turns.may_begin(self):
            return None
        return super().take_ready()


class SensedTurnInstance(SensedInstance, TurnInstance):
    """One whose events are told to sensors as well."""


def share_turns(instances: Iterable[Instance], clock: Callable[[], float]) -> None:
    """Have the instances of each agent that take turns know each other."""
    found: dict[str, Turns] = {}
    for each in instances:
        if isinstance(each, TurnInstance | TurnInner):
            each.turns = found.setdefault(each.agent.name, Turns(clock))
            each.turns.members.append(each)
