"""Checker 2: a stream app. Inputs, outputs and tables in, the broken promises out.

The app under test keeps per key (count, sum, last, chain) with chain_n = hash(chain_n-1, id), and
yields that state for every input. One comparison then catches loss, duplicate and reorder. Linear
in the inputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from .history import Anomaly


class Input(NamedTuple):
    """One input: a per-key sequence number from 1 and an id that is unique in the run."""

    key: str
    sequence: int
    id: str


class State(NamedTuple):
    """What the app knows of a key after some inputs."""

    count: int = 0
    total: int = 0
    last: int = 0
    chain: str = ""


class Output(NamedTuple):
    """The state of `key` that the app yielded for the input `id`; `nonce` is its random number."""

    key: str
    id: str
    state: State
    nonce: str = ""


def chain(before: str, id: str) -> str:
    """The next link of a key's hash chain."""
    return blake2b(f"{before}:{id}".encode(), digest_size=8).hexdigest()


def step(state: State, event: Input) -> State:
    """The model: what the app must make of `event`."""
    return State(
        state.count + 1, state.total + event.sequence, event.sequence, chain(state.chain, event.id)
    )


def fold(inputs: Iterable[Input]) -> dict[str, State]:
    """The state per key after `inputs`, in their order per key."""
    states: dict[str, State] = {}
    for event in inputs:
        states[event.key] = step(states.get(event.key, State()), event)
    return states


def check_outputs(inputs: Iterable[Input], outputs: Iterable[Output]) -> list[Anomaly]:
    """S7: the outputs of each key are exactly the model's, in order."""
    expected: dict[str, list[Output]] = defaultdict(list)
    states: dict[str, State] = {}
    for event in inputs:
        state = states[event.key] = step(states.get(event.key, State()), event)
        expected[event.key].append(Output(event.key, event.id, state))
    answered: dict[str, list[Output]] = defaultdict(list)
    for output in outputs:
        answered[output.key].append(output)
    found: list[Anomaly] = []
    for key in expected.keys() | answered.keys():
        found.extend(compare(key, expected.get(key, []), answered.get(key, [])))
    return sorted(found, key=lambda anomaly: (anomaly.name, anomaly.evidence))


def compare(key: str, expected: Sequence[Output], answered: Sequence[Output]) -> Iterator[Anomaly]:
    """What `answered` has too little, too much, in the wrong order or wrong."""
    ids = [output.id for output in answered]
    wanted = [output.id for output in expected]
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            yield Anomaly("duplicate", "S7", f"{key}: {id}")
        seen.add(id)
    known = set(wanted)
    for id in wanted:
        if id not in seen:
            yield Anomaly("loss", "S7", f"{key}: {id}")
    for id in seen - known:
        yield Anomaly("phantom", "S7", f"{key}: {id}")
    if seen == known and len(ids) == len(wanted):
        for want, got in zip(expected, answered, strict=True):
            if want.id != got.id:
                yield Anomaly("reorder", "S7", f"{key}: {got.id} where {want.id} belongs")
                return
            if want.state != got.state:
                yield Anomaly("wrong state", "S7", f"{key} {got.id}: {got.state}, not {want.state}")
                return


def check_table(inputs: Iterable[Input], table: Mapping[str, State]) -> list[Anomaly]:
    """S8: the table is the fold of the inputs below the committed offset."""
    return check_same("the fold of the inputs", fold(inputs), "the table", table, "S8")


def check_same(
    name_a: str,
    a: Mapping[str, object],
    name_b: str,
    b: Mapping[str, object],
    invariant: str = "S10",
) -> list[Anomaly]:
    """S10: two views of one state (table, fold, changelog, rebuilt, standby) are equal."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            evidence = f"{key}: {name_a} has {a.get(key)}, {name_b} has {b.get(key)}"
            found.append(Anomaly("state differs", invariant, evidence))
    return found


def check_nonces(state: Mapping[str, str], outputs: Iterable[Output]) -> list[Anomaly]:
    """S9: for each key, the nonce in the state is the nonce of the last output."""
    last = {output.key: output.nonce for output in outputs}
    return [
        Anomaly("torn unit", "S9", f"{key}: state {state.get(key)}, output {last.get(key)}")
        for key in sorted(state.keys() | last.keys())
        if state.get(key) != last.get(key)
    ]


def check_assigned(numbers: Iterable[tuple[str, int]]) -> list[Anomaly]:
    """S9: an id assigner gave out, per key, 1, 2, 3 ... each once and in order."""
    next_number: dict[str, int] = defaultdict(lambda: 1)
    found = []
    for key, number in numbers:
        if number != next_number[key]:
            found.append(Anomaly("assigned", "S9", f"{key}: {number}, not {next_number[key]}"))
        next_number[key] = max(next_number[key], number) + 1
    return found


def check_total(accounts: Mapping[str, int], total: int) -> list[Anomaly]:
    """T9: transfers between accounts keep the sum of a completed cut."""
    found = sum(accounts.values())
    if found == total:
        return []
    return [Anomaly("money", "T9", f"the accounts hold {found}, not {total}")]
