"""Fields of records by Faust's names: `name: str = StringField(max_length=30)`."""

from __future__ import annotations

from flowstream.processing.values.record_fields import (
    BooleanField,
    BytesField,
    DatetimeField,
    DecimalField,
    FloatField,
    IntegerField,
    StringField,
)

__all__ = [
    "BooleanField",
    "BytesField",
    "DatetimeField",
    "DecimalField",
    "FloatField",
    "IntegerField",
    "StringField",
]
