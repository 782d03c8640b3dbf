"""Models by Faust's names: `from flowstream.models.fields import StringField`."""

from __future__ import annotations

from flowstream.models import fields as fields
from flowstream.processing.values.record import Record

__all__ = ["Model", "Record", "fields"]

Model = Record
