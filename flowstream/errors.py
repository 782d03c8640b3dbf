"""Every error that flowstream raises on purpose, by whose fault it is.

Foreign exceptions are translated into these where they enter; nothing here knows who raises or
catches them.
"""

from __future__ import annotations


class FlowstreamError(Exception):
    """The ancestor of all errors of this package."""


class WireError(FlowstreamError):
    """Bytes that are not what the Kafka protocol allows, or a value that it cannot carry. Costs the
    peer its connection.
    """


class StorageError(FlowstreamError):
    """The disk refused: the message names the path, the cause and the remedy. A node that writes
    stops (D2).
    """


class CorruptLog(FlowstreamError):
    """Bytes that were durable once are not what was written: the message names file and offset
    (D3). Never repaired silently.
    """
