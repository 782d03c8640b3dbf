"""A UUID as a field of a key. Alone here because pure code imports no module that can make one."""

from __future__ import annotations

from typing import Any
from uuid import UUID as UUID

_TAG = 0x32


def write_uuid(out: bytearray, value: Any) -> None:
    """Its sixteen bytes: their order is the UUIDs' order."""
    if not isinstance(value, UUID):
        raise TypeError(f"expected UUID, got {type(value).__name__}: {value!r:.100}")
    out.append(_TAG)
    out += value.bytes


def read_uuid(data: bytes, at: int) -> tuple[UUID, int]:
    """The UUID at a place, and the place behind it."""
    if data[at] != _TAG:
        raise ValueError(f"tag {data[at]:#x} at {at} of {data!r:.100}")
    return UUID(bytes=data[at + 1 : at + 17]), at + 17
