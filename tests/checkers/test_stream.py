"""Checker 2 against one illegal run per anomaly, and 1,000 random legal ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkers.legal import Rng
from tests.checkers.stream import (
    Input,
    Output,
    State,
    check_assigned,
    check_nonces,
    check_outputs,
    check_same,
    check_table,
    check_total,
    fold,
    step,
)

INPUTS = [Input("a", 1, "i1"), Input("b", 1, "i2"), Input("a", 2, "i3"), Input("a", 3, "i4")]


def answers(inputs: list[Input]) -> list[Output]:
    """What a correct app yields for `inputs`."""
    states: dict[str, State] = {}
    outputs = []
    for event in inputs:
        state = states[event.key] = step(states.get(event.key, State()), event)
        outputs.append(Output(event.key, event.id, state, nonce=f"n{event.id}"))
    return outputs


def names(outputs: list[Output]) -> set[str]:
    """The anomalies that the checker finds in `outputs` to INPUTS."""
    return {anomaly.name for anomaly in check_outputs(INPUTS, outputs)}


def test_S7_right_outputs_pass() -> None:
    assert names(answers(INPUTS)) == set()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("loss", [0, 1, 2]),
        ("loss", [1, 2, 3]),
        ("duplicate", [0, 1, 2, 3, 3]),
        ("reorder", [2, 1, 0, 3]),
    ],
)
def test_S7_loss_duplicate_reorder(name: str, wrong: list[int]) -> None:
    right = answers(INPUTS)
    assert names([right[i] for i in wrong]) == {name}


def test_S7_a_phantom_and_a_wrong_state() -> None:
    right = answers(INPUTS)
    assert names([*right, Output("a", "i9", State())]) == {"phantom"}
    assert names([*right[:3], right[3]._replace(state=State(9))]) == {"wrong state"}


def test_S8_a_table_that_missed_doubled_or_swapped_an_input() -> None:
    assert check_table(INPUTS, fold(INPUTS)) == []
    for wrong in (INPUTS[:-1], [*INPUTS, INPUTS[0]], [INPUTS[2], INPUTS[1], INPUTS[0], INPUTS[3]]):
        assert [a.invariant for a in check_table(INPUTS, fold(wrong))] == ["S8"]


def test_S9_state_and_output_of_one_unit() -> None:
    outputs = answers(INPUTS)
    nonces = {"a": "ni4", "b": "ni2"}
    assert check_nonces(nonces, outputs) == []
    assert [a.name for a in check_nonces({**nonces, "a": "ni3"}, outputs)] == ["torn unit"]


def test_S9_an_id_assigner() -> None:
    assert check_assigned([("a", 1), ("b", 1), ("a", 2)]) == []
    assert len(check_assigned([("a", 1), ("a", 1)])) == 1
    assert len(check_assigned([("a", 1), ("a", 3)])) == 1


def test_T9_transfers_keep_the_total() -> None:
    assert check_total({"a": 3, "b": 7}, 10) == []
    assert [a.name for a in check_total({"a": 3, "b": 8}, 10)] == ["money"]


def test_S10_two_views_of_a_state() -> None:
    assert check_same("table", {"a": 1}, "changelog", {"a": 1}) == []
    assert len(check_same("table", {"a": 1, "b": 2}, "changelog", {"a": 1})) == 1


@settings(
    max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(st.lists(st.sampled_from("abc"), max_size=30), st.randoms(use_true_random=True))
def test_a_thousand_legal_runs_pass(keys: list[str], rng: Rng) -> None:
    """Any interleaving that keeps the order per key is legal."""
    counts: dict[str, int] = {}
    inputs = []
    for i, key in enumerate(keys):
        counts[key] = counts.get(key, 0) + 1
        inputs.append(Input(key, counts[key], f"i{i}"))
    outputs = answers(inputs)
    shuffled: list[Output] = []
    lanes = {key: [o for o in outputs if o.key == key] for key in counts}
    while any(lanes.values()):
        waiting = sorted(k for k, lane in lanes.items() if lane)
        shuffled.append(lanes[waiting[rng.randrange(len(waiting))]].pop(0))
    assert check_outputs(inputs, shuffled) == []
    assert check_table(inputs, fold(inputs)) == []
    assert check_nonces({o.key: o.nonce for o in outputs}, shuffled) == []
