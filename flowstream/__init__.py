"""Exactly-once stream processing for Python, with the broker included: the public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowstream.errors import FlowstreamError as FlowstreamError
    from flowstream.processing.agent import Agent as Agent
    from flowstream.processing.app import App as App
    from flowstream.processing.errors import AgentFailed as AgentFailed
    from flowstream.processing.errors import AppError as AppError
    from flowstream.processing.errors import DecodeError as DecodeError
    from flowstream.processing.errors import NotInAgent as NotInAgent
    from flowstream.processing.errors import PartitionMismatch as PartitionMismatch
    from flowstream.processing.errors import RowUnreadable as RowUnreadable
    from flowstream.processing.errors import SettingsError as SettingsError
    from flowstream.processing.errors import StateLost as StateLost
    from flowstream.processing.errors import TopicMissing as TopicMissing
    from flowstream.processing.event import Event as Event
    from flowstream.processing.record import Record as Record
    from flowstream.processing.replicated import GlobalTable as GlobalTable
    from flowstream.processing.replicated import TableOf as TableOf
    from flowstream.processing.set_tables import MemberSet as MemberSet
    from flowstream.processing.set_tables import SetTable as SetTable
    from flowstream.processing.stream import Stream as Stream
    from flowstream.processing.tables import Table as Table
    from flowstream.processing.tables import WindowedTable as WindowedTable
    from flowstream.processing.tables import WindowSet as WindowSet
    from flowstream.processing.topic import RecordMetadata as RecordMetadata
    from flowstream.processing.topic import Topic as Topic
    from flowstream.processing.worker import Worker as Worker

_HOMES = {
    "Agent": "processing.agent",
    "AgentFailed": "processing.errors",
    "App": "processing.app",
    "AppError": "processing.errors",
    "DecodeError": "processing.errors",
    "Event": "processing.event",
    "FlowstreamError": "errors",
    "GlobalTable": "processing.replicated",
    "MemberSet": "processing.set_tables",
    "NotInAgent": "processing.errors",
    "PartitionMismatch": "processing.errors",
    "Record": "processing.record",
    "RecordMetadata": "processing.topic",
    "RowUnreadable": "processing.errors",
    "SetTable": "processing.set_tables",
    "SettingsError": "processing.errors",
    "StateLost": "processing.errors",
    "Stream": "processing.stream",
    "Table": "processing.tables",
    "TableOf": "processing.replicated",
    "Topic": "processing.topic",
    "TopicMissing": "processing.errors",
    "WindowSet": "processing.tables",
    "WindowedTable": "processing.tables",
    "Worker": "processing.worker",
}

__all__ = [
    "Agent",
    "AgentFailed",
    "App",
    "AppError",
    "DecodeError",
    "Event",
    "FlowstreamError",
    "GlobalTable",
    "MemberSet",
    "NotInAgent",
    "PartitionMismatch",
    "Record",
    "RecordMetadata",
    "RowUnreadable",
    "SetTable",
    "SettingsError",
    "StateLost",
    "Stream",
    "Table",
    "TableOf",
    "Topic",
    "TopicMissing",
    "WindowSet",
    "WindowedTable",
    "Worker",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `python -m flowstream broker` must start without the worker's half.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'flowstream' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"flowstream.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
