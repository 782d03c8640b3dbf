"""Keys of tables that come from a command line, or are of another type than the table's."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.processing.tables.showing import parse_key, parse_prefix

ODD = "a\udcff"
"""What Python makes of the bytes `a\\xff` on a command line."""


def table(key_type: Any, **options: Any) -> Any:
    return fs.App("typed").Table("t", key_type=key_type, default=int, ordered=True, **options)


def test_bytes_that_are_no_text_are_keys_of_bytes() -> None:
    assert parse_key(table(bytes), ODD) == b"a\xff"
    assert parse_prefix(table(bytes), ODD) == b"a\xff"


@pytest.mark.parametrize("kind", [str, int, tuple[str, int]])
def test_where_keys_are_no_bytes_they_are_refused(kind: Any) -> None:
    with pytest.raises(AppError, match="is no key of table 't'"):
        parse_key(table(kind), ODD)
    if kind is not int:
        with pytest.raises(AppError, match="prefix="):
            parse_prefix(table(kind), ODD)


@pytest.mark.parametrize(
    ("kind", "ordered", "bound", "told"),
    [
        (str, False, 5, "expected str, got int: 5; convert it"),
        (bytes, False, "a", "expected bytes, got str: 'a'"),
        (str, True, 5, "expected str, got int: 5"),
        (tuple[str, int], True, "a", "expected a tuple of fields, got str: 'a'"),
    ],
)
def test_a_bound_of_another_type_is_told_by_its_types(
    kind: Any, ordered: bool, bound: Any, told: str
) -> None:
    found = fs.App("typed").Table("t", key_type=kind, default=int, ordered=ordered)
    with pytest.raises(TypeError, match=f"a bound or a prefix of table 't': {told}"):
        found.range(bound)
    with pytest.raises(TypeError, match=told):
        found.prefix(bound)
