"""The errors by Faust's names: `from flowstream.exceptions import Skip`."""

from __future__ import annotations

from pydantic import ValidationError

from flowstream.errors import FlowstreamError
from flowstream.processing.errors import (
    AppError,
    DecodeError,
    PartitionMismatch,
    Skip,
    StateLost,
)
from flowstream.transport.errors import TransportError

__all__ = [
    "ConsistencyError",
    "DecodeError",
    "FaustError",
    "ImproperlyConfigured",
    "KeyDecodeError",
    "PartitionsMismatch",
    "ProducerSendError",
    "Skip",
    "ValidationError",
    "ValueDecodeError",
]

FaustError = FlowstreamError
ImproperlyConfigured = AppError
KeyDecodeError = ValueDecodeError = DecodeError
PartitionsMismatch = PartitionMismatch
ConsistencyError = StateLost
ProducerSendError = TransportError
