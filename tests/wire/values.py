"""Hypothesis strategies for the values of any declared message at any version."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import Field, Layout, WireType, layout_of

INTEGERS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
UNSIGNED = {"uint16": 16, "uint32": 32}
TEXT = st.text(max_size=4) | st.text(string.ascii_letters, min_size=120, max_size=140)
BLOB = st.binary(max_size=4) | st.integers(126, 130).map(bytes)
DAY_MS = 86_400_000


def messages(cls: type, version: int, *, tame: bool = False) -> st.SearchStrategy[Any]:
    """Messages that `version` can carry; `tame` ones keep to what every oracle accepts (known error
    codes, times that are dates).
    """
    return _struct(layout_of(cls), layout_of(cls), version, tame)


def _struct(layout: Layout, top: Layout, version: int, tame: bool) -> st.SearchStrategy[Any]:
    present = {
        f.name: _field(f, top, version, tame) for f in layout.fields if version in f.versions
    }
    return st.builds(layout.cls, **present)


def _field(field: Field, top: Layout, version: int, tame: bool) -> st.SearchStrategy[Any]:
    if tame and field.name.endswith("error_code"):
        return st.sampled_from(ErrorCode).map(int)
    if tame and field.type.name == "int64" and field.name.endswith(("_ms", "timestamp")):
        return st.integers(0, 1000 * DAY_MS)
    values = _value(field.type, top, version, tame)
    if version in field.nullable:
        values = st.none() | values
    # Defaults are what tagged fields and version checks turn on.
    return st.just(field.default) | values if version in field.tagged else values


def _value(type: WireType[Any], top: Layout, version: int, tame: bool) -> st.SearchStrategy[Any]:
    if type.name in INTEGERS:
        bits = INTEGERS[type.name] - 1
        return st.integers(-(1 << bits), (1 << bits) - 1)
    if type.name in UNSIGNED:
        return st.integers(0, (1 << UNSIGNED[type.name]) - 1)
    if type.name == "bool":
        return st.booleans()
    if type.name == "float64":
        return st.floats(allow_nan=False)
    if type.name == "uuid":
        return st.binary(min_size=16, max_size=16)
    if type.name.endswith("string"):
        return TEXT
    if type.name in ("bytes", "records"):
        return BLOB
    if type.name == "array":
        assert type.element is not None
        return st.lists(_value(type.element, top, version, tame), max_size=2).map(tuple)
    assert type.layout is not None
    return _struct(type.layout, top, version, tame)
