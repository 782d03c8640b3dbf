"""Tables against a dict: everything a mapping can do, in any unit and over any commit."""

from __future__ import annotations

import operator
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import flowstream as fs
from flowstream.processing.tables.table import Table
from tests.processing.bench import Bench


class Seat(NamedTuple):
    row: str
    number: int


KEYS: dict[Any, list[Any]] = {
    str: ["", "a", "ab", "b", "ä"],
    int: [-300, -1, 0, 7, 70_000],
    Seat: [Seat("a", 2), Seat("a", 10), Seat("ab", 1), Seat("b", -1)],
}


def table_of(kind: Any, value: Any = int, **options: Any) -> Table[Any, Any]:
    return fs.App("bench").Table("t", key_type=kind, value_type=value, **options)


class Mapping(RuleBasedStateMachine):
    """The model: what a unit sees, and what was committed. Values are lists where they change."""

    @initialize(kind=st.sampled_from(list(KEYS)), value=st.sampled_from([int, list[int]]))
    def begin(self, kind: Any, value: Any) -> None:
        self.keys = KEYS[kind]
        self.lists = value is not int
        self.table = table_of(kind, value, ordered=True)
        self.bench = Bench(self.table)
        self.model: dict[Any, Any] = {}
        self.committed: dict[Any, Any] = {}

    def value(self, number: int) -> Any:
        return [number] if self.lists else number

    @rule(data=st.data(), fails=st.booleans())
    def unit(self, data: st.DataObject, fails: bool) -> None:
        model = dict(self.model)
        try:
            with self.bench.unit():
                for _ in range(data.draw(st.integers(1, 5))):
                    act = data.draw(st.sampled_from(ACTS))
                    key = data.draw(st.sampled_from(self.keys))
                    value = self.value(data.draw(st.integers(0, 9)))
                    assert told(act, self.table, key, value) == told(act, model, key, value)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        self.model = model

    @rule(data=st.data(), reverse=st.booleans())
    def walk(self, data: st.DataObject, reverse: bool) -> None:
        bounds = st.none() | st.sampled_from(self.keys)
        start, stop = data.draw(bounds), data.draw(bounds)
        with self.bench.unit():
            found = list(self.table.range(start, stop, reverse=reverse))
            ordered = sorted(self.model.items(), reverse=reverse)
            assert found == [
                (k, v)
                for k, v in ordered
                if (start is None or start <= k) and (stop is None or k < stop)
            ]
            assert list(self.table) == sorted(self.model)
            assert (len(self.table), len(self.table.items())) == (len(self.model),) * 2
            assert list(self.table.items()) == sorted(self.model.items())
            assert list(self.table.values()) == [v for _, v in sorted(self.model.items())]
            assert self.table.keys() == self.model.keys()
            assert all(item in self.table.items() for item in self.model.items())

    @rule()
    def commit(self) -> None:
        self.bench.commit()
        self.committed = dict(self.model)

    @rule()
    def crash(self) -> None:
        self.bench.open()
        self.model = dict(self.committed)


def told(act: Any, mapping: Any, key: Any, value: Any) -> Any:
    """What an action gives or raises."""
    try:
        return act(mapping, key, value)
    except KeyError:
        return KeyError


def assign(mapping: Any, key: Any, value: Any) -> None:
    mapping[key] = value


def remove(mapping: Any, key: Any, value: Any) -> None:
    del value, mapping[key]


def append(mapping: Any, key: Any, value: Any) -> None:
    mapping[key] = mapping[key] + value


ACTS: list[Any] = [
    assign,
    remove,
    append,
    lambda m, k, v: m[k],
    lambda m, k, v: m.get(k),
    lambda m, k, v: m.get(k, v),
    lambda m, k, v: k in m,
    lambda m, k, v: m.pop(k),
    lambda m, k, v: m.pop(k, v),
    lambda m, k, v: m.setdefault(k, v),
    lambda m, k, v: m.update({k: v}),
    lambda m, k, v: m.update([(k, v)]),
    lambda m, k, v: operator.ior(m, {k: v}) and None,
    lambda m, k, v: operator.ior(m, [(k, v)]) and None,
    lambda m, k, v: sorted((m | {k: v}).items()),
    lambda m, k, v: sorted(({k: v} | m).items()),
    lambda m, k, v: m.copy() == dict(m),
    lambda m, k, v: m.clear(),
    lambda m, k, v: len(m),
    lambda m, k, v: sorted(m.items()),
]

Mapping.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestMapping = Mapping.TestCase


@given(texts=st.sets(st.text("ab\0ÿ𐀀", max_size=4)), leading=st.text("ab\0ÿ𐀀", max_size=2))
@settings(deadline=None)
def test_a_prefix_of_text(texts: set[str], leading: str) -> None:
    table = table_of(str)
    bench = Bench(table)
    with bench.unit():
        table.update(dict.fromkeys(texts, 1))
    with bench.unit():
        found = [key for key, _ in table.prefix(leading)]
    assert found == sorted(text for text in texts if text.startswith(leading))


def test_a_prefix_of_fields() -> None:
    table = table_of(Seat, ordered=True)
    bench = Bench(table)
    with bench.unit():
        table.update(dict.fromkeys(KEYS[Seat], 1))
        assert [key for key, _ in table.prefix(("a",))] == [Seat("a", 2), Seat("a", 10)]
        assert next(key for key, _ in table.prefix(("a",), reverse=True)) == Seat("a", 10)
        assert len(list(table.prefix(()))) == 4


def test_popitem_takes_the_first_key() -> None:
    table = table_of(int, ordered=True)
    bench = Bench(table)
    with bench.unit():
        table.update({3: 1, -2: 2})
        assert table.popitem() == (-2, 2)
        assert dict(table) == {3: 1}


def test_rows_that_are_not_in_order_have_no_range() -> None:
    table = table_of(int)
    with Bench(table).unit(), pytest.raises(fs.AppError, match="ordered=True"):
        table.range(1, 5)


def test_keys_without_an_order_cannot_be_ordered() -> None:
    with pytest.raises(fs.AppError, match="no order"):
        table_of(dict, ordered=True)
    with pytest.raises(fs.AppError, match="windows have expires="):
        table_of(str, ordered=True).tumbling(60)


def test_rows_and_topics_may_have_other_bytes_for_a_key() -> None:
    table = table_of(int, ordered=True)
    bench = Bench(table)
    with bench.unit():
        table[7] = 1
    assert bench.commit() == {b"\x15\x07": b"1"}
    assert table.key_codec.encode(7) == b"7"
    plain = Bench(table_of(uuid.UUID))
    with plain.unit():
        plain.table[uuid.UUID(int=1)] = 1
    assert list(plain.commit()) == [b'"00000000-0000-0000-0000-000000000001"']


def test_a_table_that_begins_with_int_takes_any_number_and_one_of_ints_does_not() -> None:
    app = fs.App("numbers")
    numbers: Table[str, Any] = app.Table("numbers", default=int)
    whole: Table[str, Any] = app.Table("whole", default=int, value_type=int)
    bench = Bench(numbers)
    with bench.unit():
        assert numbers["a"] == 0
        numbers["a"] += 1
        numbers["b"] += 2.5
    bench.commit()
    bench.open()
    with bench.unit():
        assert repr(dict(numbers)) == "{'a': 1, 'b': 2.5}"
        with pytest.raises(TypeError, match="holds int or float values; key"):
            numbers["a"] = "1"
    with Bench(whole).unit(), pytest.raises(TypeError, match="holds int values; key 'a'"):
        whole["a"] = 2.5
