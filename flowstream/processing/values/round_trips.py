"""Values that would not be read as they were written: of models with aliases, or without a field,
and numbers and keys that JSON does not know.

Pure. Fine in a topic that is only read, or only written; what is kept comes back, and would come
back without its fields, or not at all: a row that nobody can read stops its worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pydantic
from pydantic.fields import FieldInfo

from flowstream.processing.errors import AppError, reason
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec, codec_of
from flowstream.processing.values.fields import ABSTRACT
from flowstream.processing.values.models import (
    holds_endless,
    holds_floats,
    models_in,
    other_key,
    says_no_keys,
)

T = TypeVar("T")

KNOWN_KEYS = 10_000
"""Keys of a table that were looked at, and are not again."""


def check_kept(kind: Any, what: str) -> None:
    """AppError when values of this type are written otherwise than they are read."""
    for model in models_in(kind):
        if _is_made_otherwise(model):
            continue
        for name, field in model.model_fields.items():
            lost = _lost(model, name, field)
            if lost is not None:
                raise AppError(f"{what}: field {name!r} of {model.__name__} {lost}")


def kept_codec(kind: type[T] | object, *, is_sure: bool = False) -> Codec[T]:
    """The codec of what is kept: it refuses what would not be read as it was written.

    Numbers that JSON does not know are written as null, and what has null there cannot be read, or
    is None from the next start on. Keys that are no text would be texts, where no type says what
    they are, and objects of a subclass would be of the class itself. All else that its type does
    not fit, deep inside, would be a row that stops every worker that needs it: it is looked at as
    it would be read, unless nothing but code of ours makes it (`is_sure`).
    """
    codec: Codec[T] = codec_of(kind)
    if codec.check is not None or codec.encode is str.encode:  # by itself it is text, or bytes
        return codec
    if _is_of_one_class(kind):
        codec = _exactly(kind, codec)
    write, read = codec.encode, codec.decode
    has_floats, says_nothing = holds_floats(kind), says_no_keys(kind)
    is_sure = is_sure or kind in (Any, object, dict, list)

    def encode(value: T) -> bytes:
        data = write(value)
        if has_floats and b"null" in data and holds_endless(value) and not _comes_back(read, data):
            raise ValueError(
                f"a {codec.name} with NaN or infinity in it: JSON has neither, and it could not be"
                " read again"
            )
        if says_nothing and b'":' in data and (other := other_key(value)) is not None:
            raise TypeError(
                f"a {codec.name} with the key {other!r:.80}, of type {type(other).__name__}: JSON"
                " has texts alone, and it would be read again as one, so that both are there in the"
                " end. Say value_type=dict[int, ...], or have a text, str(key)"
            )
        if not is_sure:
            _read_again(read, data)
        return data

    return dataclasses.replace(codec, encode=encode)


def row_key_codec(kind: type[T] | object) -> Codec[T]:
    """The codec of keys of rows. It refuses one that its type does not fit inside: whoever walks
    over the rows would stop at it, and a worker begin over no store whose first row it is.
    """
    codec: Codec[T] = codec_of(kind)
    if codec.check is not None or codec.encode is str.encode:  # by itself it is text, or bytes
        return codec
    write, read, known = codec.encode, codec.decode, set[bytes]()

    def encode(key: T) -> bytes:
        data = write(key)
        if data in known:
            return data
        _read_again(read, data)
        if len(known) >= KNOWN_KEYS:
            known.clear()
        known.add(data)
        return data

    return dataclasses.replace(codec, encode=encode)


def _read_again(read: Callable[[bytes], object], data: bytes) -> None:
    """ValueError for what its type does not fit inside, which nobody could read."""
    try:
        read(data)
    except DECODE_ERRORS as error:
        raise ValueError(f"it could not be read again: {reason(error)}") from error


def _is_of_one_class(kind: Any) -> bool:
    """Whether whatever is written as this type is read as an object of this class, of no other."""
    if not isinstance(kind, type):
        return False
    if issubclass(kind, pydantic.BaseModel):
        is_generic = bool(kind.__pydantic_generic_metadata__["parameters"])
        return not (is_generic or getattr(kind, ABSTRACT, False) or _is_made_otherwise(kind))
    return issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind)


def _exactly(kind: Any, codec: Codec[Any]) -> Codec[Any]:
    """The codec, for objects of a class and of none that is made of it."""
    write = codec.encode

    def encode(value: Any) -> bytes:
        if value.__class__ is not kind and isinstance(value, kind):
            name = type(value).__name__
            raise TypeError(
                f"a {name}, which would be read again as a {kind.__name__}, without what it has of"
                f" its own: say value_type={name}; records of a class that is abstract=True come"
                " back as what they were"
            )
        return write(value)

    return dataclasses.replace(codec, encode=encode)


def _comes_back(read: Callable[[bytes], object], data: bytes) -> bool:
    """Whether a number that is none, or infinite, is read as one: some models have texts for it."""
    try:
        return holds_endless(read(data))
    except DECODE_ERRORS:
        return False


def _is_made_otherwise(model: type[pydantic.BaseModel]) -> bool:
    """Whether functions of the user's say what is written, or read."""
    decorators = model.__pydantic_decorators__
    before = [each.info.mode for each in decorators.model_validators.values()]
    return bool(decorators.model_serializers) or any(mode != "after" for mode in before)


def _lost(model: type[pydantic.BaseModel], name: str, field: FieldInfo) -> str | None:
    """What becomes of a field, None when it comes back."""
    if field.exclude:
        return "is required and never written (exclude=True)" if field.is_required() else None
    config = model.model_config
    written = name
    if config.get("serialize_by_alias"):
        written = field.serialization_alias or name
    read = _read(field)
    if read is None or config.get("populate_by_name") or config.get("validate_by_name"):
        read = {*(read or ()), name}
    if written in read:
        return None
    names = ", ".join(repr(each) for each in sorted(read)) or "a path"
    return (
        f"is written as {written!r} and read as {names}, so that it would be lost: write"
        f" class {model.__name__}(..., serialize_by_alias=True) where alias= is one for both, or"
        " validate_by_name=True"
    )


def _read(field: FieldInfo) -> set[str] | None:
    """The names by which a field is read beside its own; None: by that alone."""
    alias = field.validation_alias
    if alias is None:
        return None
    choices = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
    return {each for each in choices if isinstance(each, str)}
