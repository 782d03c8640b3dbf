"""A few seeds of the worker's simulator in every test run, exact reproduction, and planted bugs
that must be found.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from flowstream.processing.commit import ORDER, Step
from flowstream.processing.stores import standing_by
from flowstream.processing.stores.starting import TaskStarter
from flowstream.state.changelog import fold
from flowstream.state.witness import Witness
from flowstream.transport.admin import Admin
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.transaction import TransactionSession
from tests.simulation.workers.beside import lanes, standbys
from tests.simulation.workers.coming import at_least_once, pattern
from tests.simulation.workers.kinds import KINDS
from tests.simulation.workers.plain import aggregate
from tests.simulation.workers.scenario import Scenario
from tests.simulation.workers.world import Result, simulate

Kind = Callable[[random.Random], Scenario]


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_no_invariant_is_broken(seed: int) -> None:
    result = simulate(seed, KINDS)
    assert not result.problems, f"seed {seed} ({result.kind}): {result.problems[:3]}"


def test_a_seed_reproduces_exactly() -> None:
    assert simulate(3, KINDS) == simulate(3, KINDS)


def first_found(kind: Kind, seeds: range) -> Result | None:
    """The first seed that shows a problem."""
    logging.disable(logging.CRITICAL)
    try:
        return _first(kind, seeds)
    finally:
        logging.disable(logging.NOTSET)


def _first(kind: Kind, seeds: range) -> Result | None:
    return next((r for seed in seeds if (r := simulate(seed, [kind])).problems), None)


@contextmanager
def planted(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, bug: object
) -> Iterator[None]:
    """A bug for the length of a block."""
    with monkeypatch.context() as patch:
        patch.setattr(where, name, bug)
        yield


def test_S1_a_store_written_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    order = list(ORDER["exactly_once"])
    order.remove(Step.STORE)
    # Behind PRODUCE, whose offsets the store needs.
    order.insert(order.index(Step.PRODUCE) + 1, Step.STORE)
    monkeypatch.setitem(ORDER, "exactly_once", tuple(order))
    assert first_found(aggregate, range(12)) is not None


def test_G1_a_zombie_whose_generation_nobody_checks_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unchecked(self: TransactionSession, offsets: object, generation: object) -> None:
        await self.add_lone_offsets(offsets, generation.group)  # type: ignore[attr-defined, arg-type]

    # Two in a hundred seeds have a zombie in the moment that matters.
    with planted(monkeypatch, TransactionSession, "add_offsets", unchecked):
        assert first_found(aggregate, range(186, 246)) is not None


def test_S7_positions_before_effects_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    order = list(ORDER["at_least_once"])
    order.remove(Step.OFFSETS)
    order.insert(order.index(Step.PRODUCE), Step.OFFSETS)
    monkeypatch.setitem(ORDER, "at_least_once", tuple(order))
    assert first_found(at_least_once, range(12)) is not None


def test_G3_a_topic_that_comes_and_is_read_from_its_end_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with planted(monkeypatch, Admin, "beginning_offsets", Admin.end_offsets):
        assert first_found(pattern, range(12)) is not None


def test_S4_a_store_that_is_not_brought_up_to_date_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stale(self: TaskStarter, id: object, tables: object, positions: object) -> object:
        return {
            plan.table.name: self._store(id, plan.table.name)  # type: ignore[arg-type]
            for plan in tables  # type: ignore[attr-defined]
        }

    with planted(monkeypatch, TaskStarter, "stores", stale):
        assert first_found(aggregate, range(8)) is not None


def test_S5_a_copy_that_misses_a_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(records: Sequence[object]) -> dict[bytes, bytes | None]:
        return fold(records[1:])  # type: ignore[arg-type, no-any-return]

    with planted(monkeypatch, standing_by, "fold", careless):
        assert first_found(standbys, range(12)) is not None


def test_V2_a_partition_that_stays_paused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with planted(monkeypatch, GroupConsumer, "paused", ()):
        assert first_found(aggregate, range(12)) is not None


def test_S8_an_update_of_a_shared_row_that_is_lost_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with planted(monkeypatch, Witness, "holds", lambda self: True):
        assert first_found(lanes, range(12)) is not None
