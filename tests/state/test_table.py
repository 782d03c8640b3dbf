"""A table partition against a plain dict: units, epochs, failures, restarts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowstream.processing.values.codecs import codec_of
from flowstream.state.memory import MemoryStore
from flowstream.state.overlay import DELETED
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
numbers = st.integers(-5, 5)


class Tables(RuleBasedStateMachine):
    """The model: what a unit sees, what has completed, what is committed."""

    @initialize(kind=st.sampled_from([int, str, list[int]]), limit=st.sampled_from([1, 2, 100]))
    def open(self, kind: Any, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.store = MemoryStore()
        self.committed: dict[bytes, Any] = {}
        self.epoch: dict[bytes, bytes | None] | None = None
        self.reopen()

    def reopen(self) -> None:
        codec = codec_of(self.kind)
        self.partition = TablePartition("t", 0, self.store, codec, limit=self.limit)
        self.view = TableView(self.partition)
        self.completed = dict(self.committed)
        self.in_transaction = dict(self.committed)
        self.unit = dict(self.completed)
        self.epoch = None

    def value(self, number: int) -> Any:
        if self.kind == list[int]:
            return [number]
        return str(number) if self.kind is str else number

    @rule(key=keys, number=numbers)
    def write(self, key: bytes, number: int) -> None:
        self.view.set(key, self.value(number))
        self.unit[key] = self.value(number)

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        self.view.delete(key)
        self.unit.pop(key, None)

    @rule(key=keys)
    def read(self, key: bytes) -> None:
        found = self.view.get(key)
        assert found == self.unit.get(key, DELETED)
        if isinstance(found, list) and key not in self.view.writes:
            found.append(99)  # a copy: nobody but this unit may see it
            self.unit = {k: (found if k == key else v) for k, v in self.unit.items()}

    @rule()
    def complete(self) -> None:
        self.settle(self.view.publish)

    @rule()
    def complete_behind_others(self) -> None:
        def seal() -> None:
            sealed = self.view.seal()
            self.view.clear()
            self.partition.defer(sealed)
            assert {k: self.view.get(k) for k in self.written} == {
                k: self.written[k] for k in self.written
            }
            self.view.clear()
            self.partition.merge(sealed)
            self.partition.overlay.settle()

        self.settle(seal)

    def settle(self, how: Any) -> None:
        self.written = {k: self.unit.get(k, DELETED) for k in self.view.writes}
        how()
        self.view.clear()
        for key, value in self.written.items():
            self.completed.pop(key, None)
            if value is not DELETED:
                self.completed[key] = value
        self.unit = dict(self.completed)

    @rule()
    def fail(self) -> None:
        self.view.clear()
        self.unit = dict(self.completed)

    @precondition(lambda self: self.epoch is None)
    @rule()
    def close(self) -> None:
        self.epoch = self.partition.close()
        self.in_transaction = dict(self.completed)

    @precondition(lambda self: self.epoch is not None)
    @rule()
    def commit(self) -> None:
        assert self.epoch is not None
        self.partition.committed(self.epoch, 7, 3)
        self.committed = self.in_transaction
        self.epoch = None

    @rule()
    def abort(self) -> None:
        self.partition.drop()
        self.reopen()

    @invariant()
    def S1_the_store_holds_only_committed_data(self) -> None:
        if hasattr(self, "store"):
            encode = codec_of(self.kind).encode
            assert dict(self.store.scan()) == {k: encode(v) for k, v in self.committed.items()}

    @rule()
    def scan(self) -> None:
        untouched = {k: v for k, v in self.view.scan() if k in self.view.writes}
        assert untouched == {k: v for k, v in self.unit.items() if k in self.view.writes}
        assert [k for k, _ in self.view.scan()] == sorted(self.unit)


Tables.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTables = Tables.TestCase


@pytest.mark.parametrize("kind", [int, str, list[int], tuple[int, ...]])
@pytest.mark.parametrize("where", ["store", "overlay"])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_S7_a_walk_shows_values_also_of_rows_that_are_written_ahead_of_it(
    kind: Any, where: str, is_deleted: bool
) -> None:
    codec = codec_of(kind)
    one, two = [(str(n) if kind is str else n if kind is int else kind((n,))) for n in (1, 2)]
    store = MemoryStore()
    view = TableView(TablePartition("t", 0, store, codec))
    if where == "store":
        store.write({b"a": codec.encode(one), b"b": codec.encode(two)})
    else:
        view.set(b"a", one)
        view.set(b"b", two)
        view.publish()
    seen = []
    for key, value in view.scan():
        seen.append((key, value))
        if is_deleted:
            view.delete(b"b")
        else:
            view.set(b"b", one)
    assert seen == [(b"a", one), (b"b", two)], "as they were when the walk began"
