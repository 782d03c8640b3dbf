"""Serializers where Faust has them: `from flowstream.serializers import codecs`."""

from __future__ import annotations

from flowstream.processing.events.schemas import Schema
from flowstream.serializers import codecs

__all__ = ["Schema", "codecs"]
