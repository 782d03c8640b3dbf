"""Exactly-once stream processing for Python, with the broker included: the public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowstream.errors import FlowstreamError as FlowstreamError
    from flowstream.outbox.databases import PostgreSQL as PostgreSQL
    from flowstream.outbox.sqlite import SQLite as SQLite
    from flowstream.outbox.target import OutboxRefused as OutboxRefused
    from flowstream.processing.agent import Agent as Agent
    from flowstream.processing.aggregates import Collect as Collect
    from flowstream.processing.aggregates import Count as Count
    from flowstream.processing.aggregates import Distinct as Distinct
    from flowstream.processing.aggregates import Max as Max
    from flowstream.processing.aggregates import Mean as Mean
    from flowstream.processing.aggregates import Min as Min
    from flowstream.processing.aggregates import Reduce as Reduce
    from flowstream.processing.aggregates import Sum as Sum
    from flowstream.processing.app import App as App
    from flowstream.processing.branches import branch as branch
    from flowstream.processing.channels import Channel as Channel
    from flowstream.processing.closing import WindowResult as WindowResult
    from flowstream.processing.current import current_event as current_event
    from flowstream.processing.errors import AgentFailed as AgentFailed
    from flowstream.processing.errors import AppError as AppError
    from flowstream.processing.errors import DecodeError as DecodeError
    from flowstream.processing.errors import LateEvent as LateEvent
    from flowstream.processing.errors import NotInAgent as NotInAgent
    from flowstream.processing.errors import PartitionMismatch as PartitionMismatch
    from flowstream.processing.errors import QueryError as QueryError
    from flowstream.processing.errors import QueryTimeout as QueryTimeout
    from flowstream.processing.errors import RowUnreadable as RowUnreadable
    from flowstream.processing.errors import SettingsError as SettingsError
    from flowstream.processing.errors import StateLost as StateLost
    from flowstream.processing.errors import TableUnavailable as TableUnavailable
    from flowstream.processing.errors import TooStale as TooStale
    from flowstream.processing.errors import TopicMissing as TopicMissing
    from flowstream.processing.event import Event as Event
    from flowstream.processing.ids import uuid as uuid
    from flowstream.processing.joined import Joined as Joined
    from flowstream.processing.monitor import Monitor as Monitor
    from flowstream.processing.outboxes import Outbox as Outbox
    from flowstream.processing.pages import View as View
    from flowstream.processing.policies import Policy as Policy
    from flowstream.processing.policies import park as park
    from flowstream.processing.policies import retry as retry
    from flowstream.processing.queries.query import Query as Query
    from flowstream.processing.record import Record as Record
    from flowstream.processing.replicated import GlobalTable as GlobalTable
    from flowstream.processing.replicated import TableOf as TableOf
    from flowstream.processing.replies import ReplyFailed as ReplyFailed
    from flowstream.processing.schemas import Schema as Schema
    from flowstream.processing.sensors import Sensor as Sensor
    from flowstream.processing.serializers import Codec as Codec
    from flowstream.processing.services import Service as Service
    from flowstream.processing.set_tables import MemberSet as MemberSet
    from flowstream.processing.set_tables import SetTable as SetTable
    from flowstream.processing.statsd import StatsdMonitor as StatsdMonitor
    from flowstream.processing.stream import Stream as Stream
    from flowstream.processing.tables import Table as Table
    from flowstream.processing.timers import Timers as Timers
    from flowstream.processing.topic import RecordMetadata as RecordMetadata
    from flowstream.processing.topic import Topic as Topic
    from flowstream.processing.windowed_tables import WindowedTable as WindowedTable
    from flowstream.processing.windowed_tables import WindowSet as WindowSet
    from flowstream.processing.worker import Worker as Worker

_HOMES = {
    "Agent": "processing.agent",
    "AgentFailed": "processing.errors",
    "App": "processing.app",
    "AppError": "processing.errors",
    "branch": "processing.branches",
    "Channel": "processing.channels",
    "Codec": "processing.serializers",
    "Collect": "processing.aggregates",
    "Count": "processing.aggregates",
    "current_event": "processing.current",
    "DecodeError": "processing.errors",
    "Distinct": "processing.aggregates",
    "Event": "processing.event",
    "FlowstreamError": "errors",
    "GlobalTable": "processing.replicated",
    "Joined": "processing.joined",
    "LateEvent": "processing.errors",
    "Max": "processing.aggregates",
    "Mean": "processing.aggregates",
    "MemberSet": "processing.set_tables",
    "Min": "processing.aggregates",
    "Monitor": "processing.monitor",
    "NotInAgent": "processing.errors",
    "Outbox": "processing.outboxes",
    "OutboxRefused": "outbox.target",
    "park": "processing.policies",
    "PartitionMismatch": "processing.errors",
    "Policy": "processing.policies",
    "PostgreSQL": "outbox.databases",
    "Query": "processing.queries.query",
    "QueryError": "processing.errors",
    "QueryTimeout": "processing.errors",
    "Record": "processing.record",
    "RecordMetadata": "processing.topic",
    "Reduce": "processing.aggregates",
    "ReplyFailed": "processing.replies",
    "retry": "processing.policies",
    "RowUnreadable": "processing.errors",
    "Schema": "processing.schemas",
    "Sensor": "processing.sensors",
    "Service": "processing.services",
    "SetTable": "processing.set_tables",
    "SettingsError": "processing.errors",
    "SQLite": "outbox.sqlite",
    "StateLost": "processing.errors",
    "StatsdMonitor": "processing.statsd",
    "Stream": "processing.stream",
    "Sum": "processing.aggregates",
    "Table": "processing.tables",
    "TableOf": "processing.replicated",
    "TableUnavailable": "processing.errors",
    "Timers": "processing.timers",
    "TooStale": "processing.errors",
    "Topic": "processing.topic",
    "TopicMissing": "processing.errors",
    "uuid": "processing.ids",
    "View": "processing.pages",
    "WindowedTable": "processing.windowed_tables",
    "WindowResult": "processing.closing",
    "WindowSet": "processing.windowed_tables",
    "Worker": "processing.worker",
}

__all__ = [
    "Agent",
    "AgentFailed",
    "App",
    "AppError",
    "Channel",
    "Codec",
    "Collect",
    "Count",
    "DecodeError",
    "Distinct",
    "Event",
    "FlowstreamError",
    "GlobalTable",
    "Joined",
    "LateEvent",
    "Max",
    "Mean",
    "MemberSet",
    "Min",
    "Monitor",
    "NotInAgent",
    "Outbox",
    "OutboxRefused",
    "PartitionMismatch",
    "Policy",
    "PostgreSQL",
    "Query",
    "QueryError",
    "QueryTimeout",
    "Record",
    "RecordMetadata",
    "Reduce",
    "ReplyFailed",
    "RowUnreadable",
    "SQLite",
    "Schema",
    "Sensor",
    "Service",
    "SetTable",
    "SettingsError",
    "StateLost",
    "StatsdMonitor",
    "Stream",
    "Sum",
    "Table",
    "TableOf",
    "TableUnavailable",
    "Timers",
    "TooStale",
    "Topic",
    "TopicMissing",
    "View",
    "WindowResult",
    "WindowSet",
    "WindowedTable",
    "Worker",
    "branch",
    "current_event",
    "park",
    "retry",
    "uuid",
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
