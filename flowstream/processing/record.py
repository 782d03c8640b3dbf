"""The model class of records: pydantic, with the JSON codec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pydantic


class Record(pydantic.BaseModel):
    """A typed value of a topic or table: a pydantic model that travels as JSON.

    Class arguments are pydantic's: `class Order(Record, frozen=True)` makes an immutable record,
    which a table hands out without a copy.
    """

    def __init_subclass__(cls, **unknown: Any) -> None:
        super().__init_subclass__()
        if unknown:
            raise TypeError(
                f"record {cls.__name__}: {', '.join(unknown)} cannot be given; class arguments are"
                " pydantic's (frozen=True, strict=True, ...), and dates and numbers are always"
                " read from JSON"
            )

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A record of a dict as JSON has it, checked; pydantic.ValidationError when it is none."""
        return cls.model_validate(data)

    @classmethod
    def loads(cls, data: bytes | str) -> Self:
        """A record of its JSON; pydantic.ValidationError when it is none."""
        return cls.model_validate_json(data)

    def asdict(self) -> dict[str, Any]:
        """The fields by name, their values as they are."""
        return dict(self)

    def to_representation(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return self.model_dump(mode="json")

    def dumps(self) -> bytes:
        """The record's JSON."""
        return self.model_dump_json().encode()
