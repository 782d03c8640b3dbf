"""Exactly-once stream processing for Python, with the broker included: the public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowstream import codecs as codecs
    from flowstream import exceptions as exceptions
    from flowstream import models as models
    from flowstream import sensors as sensors
    from flowstream import serializers as serializers
    from flowstream import types as types
    from flowstream import web as web
    from flowstream import windows as windows
    from flowstream.errors import FlowstreamError as FlowstreamError
    from flowstream.outbox.databases import PostgreSQL as PostgreSQL
    from flowstream.outbox.sqlite import SQLite as SQLite
    from flowstream.outbox.target import OutboxRefused as OutboxRefused
    from flowstream.processing.agents.agent import Agent as Agent
    from flowstream.processing.agents.channels import Channel as Channel
    from flowstream.processing.agents.policies import Policy as Policy
    from flowstream.processing.agents.policies import park as park
    from flowstream.processing.agents.policies import retry as retry
    from flowstream.processing.app import App as App
    from flowstream.processing.declarations.command_classes import AppCommand as AppCommand
    from flowstream.processing.declarations.command_classes import Command as Command
    from flowstream.processing.declarations.conf import Settings as Settings
    from flowstream.processing.declarations.outboxes import Outbox as Outbox
    from flowstream.processing.declarations.pages import View as View
    from flowstream.processing.declarations.services import Service as Service
    from flowstream.processing.environment.credentials import OAuthCredentials as OAuthCredentials
    from flowstream.processing.environment.credentials import SASLCredentials as SASLCredentials
    from flowstream.processing.environment.credentials import SSLCredentials as SSLCredentials
    from flowstream.processing.errors import AgentFailed as AgentFailed
    from flowstream.processing.errors import AppError as AppError
    from flowstream.processing.errors import AppExited as AppExited
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
    from flowstream.processing.events.current import current_event as current_event
    from flowstream.processing.events.event import Event as Event
    from flowstream.processing.events.replies import ReplyFailed as ReplyFailed
    from flowstream.processing.events.schemas import Schema as Schema
    from flowstream.processing.events.topic import RecordMetadata as RecordMetadata
    from flowstream.processing.events.topic import Topic as Topic
    from flowstream.processing.ids import uuid as uuid
    from flowstream.processing.queries.query import Query as Query
    from flowstream.processing.streams.branches import branch as branch
    from flowstream.processing.streams.stream import Stream as Stream
    from flowstream.processing.tables.closing import WindowResult as WindowResult
    from flowstream.processing.tables.global_sets import SetGlobalTable as SetGlobalTable
    from flowstream.processing.tables.replicated import GlobalTable as GlobalTable
    from flowstream.processing.tables.replicated import TableOf as TableOf
    from flowstream.processing.tables.set_tables import MemberSet as MemberSet
    from flowstream.processing.tables.set_tables import SetTable as SetTable
    from flowstream.processing.tables.table import Table as Table
    from flowstream.processing.tables.timers import Timers as Timers
    from flowstream.processing.tables.windowed_tables import WindowedTable as WindowedTable
    from flowstream.processing.tables.windowed_tables import WindowSet as WindowSet
    from flowstream.processing.time.aggregates import Collect as Collect
    from flowstream.processing.time.aggregates import Count as Count
    from flowstream.processing.time.aggregates import Distinct as Distinct
    from flowstream.processing.time.aggregates import Max as Max
    from flowstream.processing.time.aggregates import Mean as Mean
    from flowstream.processing.time.aggregates import Min as Min
    from flowstream.processing.time.aggregates import Reduce as Reduce
    from flowstream.processing.time.aggregates import Sum as Sum
    from flowstream.processing.time.shapes import HoppingWindow as HoppingWindow
    from flowstream.processing.time.shapes import TumblingWindow as TumblingWindow
    from flowstream.processing.time.shapes import Window as Window
    from flowstream.processing.values.joined import Joined as Joined
    from flowstream.processing.values.record import Record as Record
    from flowstream.processing.values.serializers import Codec as Codec
    from flowstream.processing.watching.monitor import Monitor as Monitor
    from flowstream.processing.watching.sensors import Sensor as Sensor
    from flowstream.processing.watching.statsd import StatsdMonitor as StatsdMonitor
    from flowstream.web.worker import Worker as Worker

    AgentT = Agent
    AppT = App
    ChannelT = Channel
    EventT = Event
    Model = Record
    ServiceT = Service
    StreamT = Stream
    TableT = Table
    TopicT = Topic

_HOMES = {
    "Agent": "processing.agents.agent",
    "AgentFailed": "processing.errors",
    "App": "processing.app",
    "AppCommand": "processing.declarations.command_classes",
    "AppError": "processing.errors",
    "AppExited": "processing.errors",
    "branch": "processing.streams.branches",
    "Channel": "processing.agents.channels",
    "Codec": "processing.values.serializers",
    "Collect": "processing.time.aggregates",
    "Command": "processing.declarations.command_classes",
    "Count": "processing.time.aggregates",
    "current_event": "processing.events.current",
    "DecodeError": "processing.errors",
    "Distinct": "processing.time.aggregates",
    "Event": "processing.events.event",
    "FlowstreamError": "errors",
    "GlobalTable": "processing.tables.replicated",
    "HoppingWindow": "processing.time.shapes",
    "Joined": "processing.values.joined",
    "LateEvent": "processing.errors",
    "Max": "processing.time.aggregates",
    "Mean": "processing.time.aggregates",
    "MemberSet": "processing.tables.set_tables",
    "Min": "processing.time.aggregates",
    "Monitor": "processing.watching.monitor",
    "NotInAgent": "processing.errors",
    "OAuthCredentials": "processing.environment.credentials",
    "Outbox": "processing.declarations.outboxes",
    "OutboxRefused": "outbox.target",
    "park": "processing.agents.policies",
    "PartitionMismatch": "processing.errors",
    "Policy": "processing.agents.policies",
    "PostgreSQL": "outbox.databases",
    "Query": "processing.queries.query",
    "QueryError": "processing.errors",
    "QueryTimeout": "processing.errors",
    "Record": "processing.values.record",
    "RecordMetadata": "processing.events.topic",
    "Reduce": "processing.time.aggregates",
    "ReplyFailed": "processing.events.replies",
    "retry": "processing.agents.policies",
    "RowUnreadable": "processing.errors",
    "SASLCredentials": "processing.environment.credentials",
    "Schema": "processing.events.schemas",
    "Sensor": "processing.watching.sensors",
    "Service": "processing.declarations.services",
    "SetGlobalTable": "processing.tables.global_sets",
    "SetTable": "processing.tables.set_tables",
    "Settings": "processing.declarations.conf",
    "SettingsError": "processing.errors",
    "SQLite": "outbox.sqlite",
    "SSLCredentials": "processing.environment.credentials",
    "StateLost": "processing.errors",
    "StatsdMonitor": "processing.watching.statsd",
    "Stream": "processing.streams.stream",
    "Sum": "processing.time.aggregates",
    "Table": "processing.tables.table",
    "TableOf": "processing.tables.replicated",
    "TableUnavailable": "processing.errors",
    "Timers": "processing.tables.timers",
    "TooStale": "processing.errors",
    "Topic": "processing.events.topic",
    "TopicMissing": "processing.errors",
    "TumblingWindow": "processing.time.shapes",
    "uuid": "processing.ids",
    "View": "processing.declarations.pages",
    "Window": "processing.time.shapes",
    "WindowedTable": "processing.tables.windowed_tables",
    "WindowResult": "processing.tables.closing",
    "WindowSet": "processing.tables.windowed_tables",
    "Worker": "web.worker",
}

_ALIASES = {
    "AgentT": "Agent",
    "AppT": "App",
    "ChannelT": "Channel",
    "EventT": "Event",
    "Model": "Record",
    "ServiceT": "Service",
    "StreamT": "Stream",
    "TableT": "Table",
    "TopicT": "Topic",
}
"""Faust's names for the types of what an app declares: here the classes are the types. And for the
base of records.
"""

_MODULES = (
    "cli", "codecs", "exceptions", "models", "sensors", "serializers", "types", "web", "windows",
)  # fmt: skip

__all__ = [
    "Agent",
    "AgentFailed",
    "AgentT",
    "App",
    "AppCommand",
    "AppError",
    "AppExited",
    "AppT",
    "Channel",
    "ChannelT",
    "Codec",
    "Collect",
    "Command",
    "Count",
    "DecodeError",
    "Distinct",
    "Event",
    "EventT",
    "FlowstreamError",
    "GlobalTable",
    "HoppingWindow",
    "Joined",
    "LateEvent",
    "Max",
    "Mean",
    "MemberSet",
    "Min",
    "Model",
    "Monitor",
    "NotInAgent",
    "OAuthCredentials",
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
    "SASLCredentials",
    "SQLite",
    "SSLCredentials",
    "Schema",
    "Sensor",
    "Service",
    "ServiceT",
    "SetGlobalTable",
    "SetTable",
    "Settings",
    "SettingsError",
    "StateLost",
    "StatsdMonitor",
    "Stream",
    "StreamT",
    "Sum",
    "Table",
    "TableOf",
    "TableT",
    "TableUnavailable",
    "Timers",
    "TooStale",
    "Topic",
    "TopicMissing",
    "TopicT",
    "TumblingWindow",
    "View",
    "Window",
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
    from importlib import import_module

    if name in _MODULES:  # `fs.codecs.register(...)`, where nobody has imported it, too
        return import_module(f"flowstream.{name}")
    asked, name = name, _ALIASES.get(name, name)
    home = _HOMES.get(name)
    if home is None:
        from flowstream.processing.instead import missing

        raise missing("faust", name, "module 'flowstream'")
    value = getattr(import_module(f"flowstream.{home}"), name)
    globals()[asked] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
