"""What a request about metadata comes to: records and results, or a refusal of one of its parts.

Pure data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from flowstream.broker.metadata.records import MetadataRecord
from flowstream.wire.error_codes import ErrorCode

T = TypeVar("T")


class Plan(NamedTuple, Generic[T]):
    """Records to write as one batch, and what to answer once they are durable."""

    records: tuple[MetadataRecord, ...]
    results: tuple[T, ...]
    partitions: int = 0
    """How many partitions the request has made with it."""


class Refusal(Exception):
    """One part of a request cannot be served: the error code and message of its result."""

    def __init__(self, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


Charge = Callable[[int], None]
"""Told of the partitions that a change is about when nothing else is against it; raises Refusal
when its client has to wait first (KIP-599)."""


def free(partitions: int) -> None:
    """Whoever may change as much as it likes."""
