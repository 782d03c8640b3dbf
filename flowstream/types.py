"""Types by Faust's names, for annotations: `from flowstream.types import StreamT`."""

from __future__ import annotations

from flowstream.processing.agents.agent import Agent as AgentT
from flowstream.processing.agents.channels import Channel as ChannelT
from flowstream.processing.app import App as AppT
from flowstream.processing.declarations.services import Service as ServiceT
from flowstream.processing.events.current import Headers as HeadersArg
from flowstream.processing.events.event import Event as EventT
from flowstream.processing.events.event import Message
from flowstream.processing.events.schemas import Schema as SchemaT
from flowstream.processing.events.topic import RecordMetadata
from flowstream.processing.events.topic import Serializer as CodecArg
from flowstream.processing.events.topic import Topic as TopicT
from flowstream.processing.streams.stream import Stream as StreamT
from flowstream.processing.tables.table import Table as CollectionT
from flowstream.processing.tables.table import Table as TableT
from flowstream.processing.tables.windowed_tables import WindowedTable as WindowWrapperT
from flowstream.processing.tables.windowed_tables import WindowSet as WindowSetT
from flowstream.processing.time.shapes import Window as WindowT
from flowstream.processing.time.windows import WindowRange
from flowstream.processing.values.durations import Seconds
from flowstream.processing.values.record import Record as ModelT
from flowstream.processing.values.serializers import Codec as CodecT
from flowstream.processing.watching.sensors import Sensor as SensorT
from flowstream.transport.types import TopicPartition as TP

__all__ = [
    "TP",
    "AgentT",
    "AppT",
    "ChannelT",
    "CodecArg",
    "CodecT",
    "CollectionT",
    "EventT",
    "HeadersArg",
    "Message",
    "ModelT",
    "RecordMetadata",
    "SchemaT",
    "Seconds",
    "SensorT",
    "ServiceT",
    "StreamT",
    "TableT",
    "TopicT",
    "WindowRange",
    "WindowSetT",
    "WindowT",
    "WindowWrapperT",
]
