"""The model class of records: pydantic, with the JSON codec."""

from __future__ import annotations

import pydantic


class Record(pydantic.BaseModel):
    """A typed value of a topic or table: a pydantic model that travels as JSON.

    Class arguments are pydantic's: `class Order(Record, frozen=True)` makes an immutable record,
    which a table hands out without a copy.
    """
