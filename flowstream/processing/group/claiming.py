"""A worker's assignor: what it claims when it joins, and what a leader decides.

Wires the pure `assignor` to a membership and to the stores of its slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec.structs import replace

from flowstream.processing.group import assignor
from flowstream.processing.group.placing import Rules, encode_orders, place
from flowstream.processing.units.task import TaskId
from flowstream.transport.assignor import GroupAssignor, Member, Part

Told = Callable[[Callable[..., Any]], Callable[..., Any]]

NO_COPIES = Rules()


class Holder(Protocol):
    """A membership as the assignor sees it."""

    @property
    def held(self) -> list[TaskId]:
        """Tasks of the current assignment, or of the last one."""


class Stores(Protocol):
    """The stores of a worker as the assignor sees them."""

    def state(self) -> dict[TaskId, int]:
        """How much state each open task holds."""


def claiming_assignor(
    membership: Holder,
    starter: Stores,
    sources: Mapping[str, int],
    told: Told,
    rules: Rules,
    web: str | None = None,
) -> GroupAssignor:
    """The assignor of one membership; `sources` are the partitions of its plan's topics, `told`
    has a decision seen by those who watch, `rules` say what copies there are, `web` is
    where the worker can be visited.
    """

    def claim() -> bytes:
        state = {
            assignor.task_name(id.partitions, id.number): held
            for id, held in starter.state().items()
        }
        owned = tuple(
            sorted(assignor.task_name(id.partitions, id.number) for id in membership.held)
        )
        return assignor.encode_claim(assignor.Claim(owned, state, web or ""))

    def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> dict[str, Part]:
        # A leader whose metadata update met a dying broker knows no partitions for minutes:
        # it must not leave them without an owner (G7).
        return decide(members, {**sources, **partitions}, rules)

    return GroupAssignor(assignor.NAME, claim, told(assign))


def decide(
    members: Mapping[str, Member], partitions: Mapping[str, int], rules: Rules = NO_COPIES
) -> dict[str, Part]:
    """The assignor's answer for the members as transport names them."""
    candidates: dict[str, Any] = {
        name: assignor.Candidate(member.topics, assignor.decode_claim(member.user_data))
        for name, member in members.items()
    }
    placement = place(candidates, partitions, rules)
    waits = assignor.waiting(candidates, partitions, placement.partitions)
    return {
        member: Part(given, encode_orders(replace(placement.orders[member], waits=waits)))
        for member, given in placement.partitions.items()
    }
