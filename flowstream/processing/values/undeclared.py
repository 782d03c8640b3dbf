"""Values of tables that no type is declared of: JSON, in which records name their classes, so that
they are read back as records.

Pure. A record is an object whose `__faust` entry has its namespace, as Faust writes it. A dict that
has such an entry by itself stands inside of another one, and is read back as the dict it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from flowstream.processing.values.codecs import JSON, Codec, Number, codec_of
from flowstream.processing.values.record import METADATA, Record, record_named
from flowstream.processing.values.round_trips import check_kept

OPEN_KINDS = (Any, object, dict, list, tuple)
"""Types that say nothing of what is inside."""
_MARK = f'"{METADATA}"'.encode()


class Undeclared:
    """In place of the type of a table's values: nobody said more of them than `kind`."""

    __flowstream_holds__ = (Any,)

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._checked: set[type[Record]] = set()

    def __flowstream_codec__(self) -> Codec[Any]:
        """As the kind's, and records among the values come back."""
        usual: Codec[Any] = codec_of(self.kind)
        plainly = msgspec.json.Encoder(enc_hook=_refuse_records).encode
        kind = object if self.kind is Any else self.kind

        def encode(value: Any) -> bytes:
            if not isinstance(value, kind):
                return usual.encode(value)  # refuses it
            try:
                data = plainly(value)
            except _HasRecords:
                return usual.encode(self._named(value))
            return usual.encode(self._named(value)) if _MARK in data else data

        def decode(data: bytes) -> Any:
            value = usual.decode(data)
            return _revived(value) if _MARK in data else value

        return Codec(usual.name, encode, decode)

    def _named(self, value: Any) -> Any:
        """The value with dicts in place of its records, which name them."""
        if isinstance(value, Record):
            named = {"ns": self._namespace(type(value))}
            return {**value.model_dump(mode="json"), METADATA: named}
        if isinstance(value, dict):
            inside = {key: self._named(each) for key, each in value.items()}
            return {METADATA: {"dict": inside}} if METADATA in inside else inside
        if isinstance(value, list | tuple):
            listed = [self._named(each) for each in value]
            return tuple(listed) if isinstance(value, tuple) else listed
        return value

    def _namespace(self, model: type[Record]) -> str:
        if model not in self._checked:
            check_kept(model, "a value without a declared type")
            self._checked.add(model)
        return model._namespace()


class _HasRecords(Exception):
    """There is a record in a value."""


def _refuse_records(value: object) -> NoReturn:
    """Called for what JSON does not know."""
    if isinstance(value, Record):
        raise _HasRecords
    JSON.encode(value)
    raise AssertionError(f"{value!r} was written as JSON after all")


def _revived(value: Any) -> Any:
    """The value with records where their fields are."""
    if isinstance(value, list):
        return [_revived(each) for each in value]
    if isinstance(value, tuple):
        return tuple(_revived(each) for each in value)
    if not isinstance(value, dict):
        return value
    said = value.pop(METADATA, None)
    if said is None:
        return {key: _revived(each) for key, each in value.items()}
    match said:
        case {"dict": dict(inside)}:
            return {key: _revived(each) for key, each in inside.items()}
        case {"ns": str(namespace)}:
            model = record_named(namespace)
        case _:
            raise ValueError(f"its {METADATA!r} entry, {said!r}, names no record")
    # By way of JSON: a strict record takes texts for dates and the like from there alone.
    fields = msgspec.json.encode(value)
    return model.__pydantic_validator__.validate_json(fields)


def kind_of_values(declared: Any, default: Callable[[], Any] | None) -> Any:
    """The type of a table's values: as declared, else that of its default, else any JSON."""
    if declared is not None:
        return declared
    if default is int:
        return Number
    kind = default if isinstance(default, type) else Any
    return Undeclared(kind) if kind in OPEN_KINDS else kind
