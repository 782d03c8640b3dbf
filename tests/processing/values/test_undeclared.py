"""Values of tables without a declared type: records among them come back as records."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any

import pytest

import flowstream as fs
from flowstream.state.memory import MemoryStore
from tests.processing.bench import Bench


class Point(fs.Record):
    """A place, and a time."""

    x: int
    at: datetime.datetime = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Path(fs.Record, coerce=False, extra="forbid", ns="shop.path"):
    """Points."""

    points: list[Point] = []  # noqa: RUF012 - pydantic copies it
    notes: dict[str, Any] = {}  # noqa: RUF012


@dataclasses.dataclass
class Held:
    """A record inside of what is no record."""

    point: Point


POINT = Point(x=1)
PATH = Path(points=[POINT], notes={"__faust": {"ns": "x"}})
VALUES = (
    [POINT, POINT],
    {"a": POINT, "b": [PATH, {"c": PATH}]},
    POINT,
    PATH,
    [1, "a", None, {"b": 2.5}],
    {"__faust": {"ns": "shop.path"}, "points": []},
    [{"__faust": 5}, POINT],
    {"a": {"__faust": {"dict": {"__faust": {}}}}},
    'a text with "__faust" in it',
)  # fmt: skip


def bench(store: MemoryStore | None = None, **options: Any) -> Bench:
    return Bench(fs.App("bench").Table("values", **options), store)


@pytest.mark.parametrize("value", VALUES)
def test_S10_a_value_without_a_type_comes_back_as_it_was(value: object) -> None:
    found = bench()
    with found.unit():
        found.table["k"] = value
    found.commit()
    found.open()
    with found.unit():
        assert found.table["k"] == value
        assert type(found.table["k"]) is type(value)


def test_a_default_of_tuples_stays_one_of_tuples() -> None:
    found = bench(default=tuple)
    with found.unit():
        found.table["k"] = (POINT, (PATH,))
    with pytest.raises(TypeError, match="list"), found.unit():
        found.table["l"] = [POINT]
    found.commit()
    found.open()
    with found.unit():
        assert found.table["k"] == (POINT, [PATH])  # JSON has no tuples inside


def test_a_row_whose_class_is_gone_names_key_class_and_remedy() -> None:
    store = MemoryStore()
    store.write({b"k": b'[{"x":1,"__faust":{"ns":"old.Point"}}]'})
    found = bench(store, default=list)
    with found.unit(), pytest.raises(fs.RowUnreadable) as caught:
        found.table["k"]
    for word in ("'values'", "'k'", "'old.Point'", "import the module", "migrate="):
        assert word in str(caught.value)


@pytest.mark.parametrize("entry", [b"3", b'{"dict":3}', b'{"ns":3}', b"{}", b'["ns"]'])
def test_a_row_whose_entry_names_nothing_is_unreadable(entry: bytes) -> None:
    store = MemoryStore()
    store.write({b"k": b'[{"x":1,"__faust":%b}]' % entry})
    found = bench(store, default=list)
    with found.unit(), pytest.raises(fs.RowUnreadable, match="names no record"):
        found.table["k"]


def test_what_could_not_be_read_again_is_refused() -> None:
    found = bench(default=list)
    with pytest.raises(TypeError, match="declared type says nothing"), found.unit():
        found.table["k"] = [Held(POINT)]
    with pytest.raises(ValueError, match="NaN"), found.unit():
        found.table["k"] = [math.nan, POINT]


def test_a_declared_type_says_all_there_is() -> None:
    found = bench(value_type=dict)
    with found.unit():
        found.table["k"] = {"__faust": {"ns": "shop.path"}}
    with pytest.raises(TypeError, match="declared type says nothing"), found.unit():
        found.table["k"] = {"a": POINT}
    rows = found.commit()
    assert rows == {b"k": b'{"__faust":{"ns":"shop.path"}}'}
