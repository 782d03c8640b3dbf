"""Keys of tables from a command line."""

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
