"""Models that would not be read as they were written: by aliases, or without a field.

Pure. Fine in a topic that is only read, or only written; what is kept comes back, and would come
back without its fields, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from flowstream.processing.errors import AppError
from flowstream.processing.values.models import parts_of


def check_kept(kind: Any, what: str) -> None:
    """AppError when values of this type are written otherwise than they are read."""
    for model in models_in(kind):
        if _is_made_otherwise(model):
            continue
        for name, field in model.model_fields.items():
            lost = _lost(model, name, field)
            if lost is not None:
                raise AppError(f"{what}: field {name!r} of {model.__name__} {lost}")


def models_in(kind: Any) -> Iterator[type[pydantic.BaseModel]]:
    """Every model in a type, and in the fields of these."""
    waiting, seen = [kind], set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, type) and issubclass(found, pydantic.BaseModel):
            yield found
            waiting += (field.annotation for field in found.model_fields.values())
        waiting += parts_of(found)


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
