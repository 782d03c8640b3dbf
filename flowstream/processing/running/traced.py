"""Instances with a span around each unit, whose outputs carry its context.

Imported only where traces are taken. A unit's span is the child of the one that its record
carries, so that one trace goes from producer to output; further records of a `take` are links. The
provider's sampler decides which are recorded; the context goes on in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from flowstream.processing.agents.channels import Channel
from flowstream.processing.errors import text_of
from flowstream.processing.events.event import Arrival
from flowstream.processing.running.instance import Instance
from flowstream.processing.units.outputs import batch_bytes
from flowstream.processing.units.unit import Output
from flowstream.processing.watching.spans import SYSTEM, carrying, context_in, context_of, tracer

Headers = tuple[tuple[str, bytes | None], ...]


class TracedInstance(Instance):
    """An instance with a span around each unit; current while the agent works on it."""

    _span: Span | None = None
    _token: Any = None
    _task: asyncio.Task[Any] | None = None
    _spanned: tuple[int, int] | None = None
    """Offset and number of the last record that has its span."""

    def advance(self) -> Arrival | None:
        """See `UnitFeed.advance`."""
        return self._seen(super().advance())

    def take_ready(self) -> Arrival | None:
        """See `UnitFeed.take_ready`."""
        return self._seen(super().take_ready())

    def complete(self) -> None:
        """See `UnitFeed.complete`: outputs carry the span's context from here on."""
        if self._span is not None and self.outputs and self.record is not None:
            context, came = context_of(self._span), tuple(self.record.headers)
            self.outputs[:] = [self._carrying(each, context, came) for each in self.outputs]
        super().complete()
        if self.record is None:
            self._end_span()

    def _carrying(self, output: Output, context: Mapping[str, bytes], came: Headers) -> Output:
        """An output with the span's context, if it has room for that: what only watches fails no
        event.
        """
        to, key, value, at_ms, headers = output
        if isinstance(cast("object", to), Channel):
            return output
        more = carrying(headers, context, came)
        topic = self.around.output(to[0])
        has_room = batch_bytes(key, value, more) <= topic.max_message_bytes
        return (to, key, value, at_ms, more) if has_room else output

    async def close(self) -> None:
        """See `Instance.close`."""
        self._end_span()
        await super().close()

    async def _failed(self, error: Exception) -> None:
        if self._span is not None:
            self._span.record_exception(error)
            self._span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {text_of(error)}")
        await super()._failed(error)
        if self.record is None:
            self._end_span()

    async def _retry(self, records: Sequence[Arrival], error: Exception, failures: int) -> None:
        self._end_span()
        await super()._retry(records, error, failures)

    async def _stop(self, error: Exception, how: str) -> None:
        self._end_span()
        await super()._stop(error, how)

    def _seen(self, record: Arrival | None) -> Arrival | None:
        if record is None or self._spanned == (record.offset, self.taken):
            return record
        self._spanned = (record.offset, self.taken)
        if self._span is not None and self._held:
            link = trace.get_current_span(context_in(record.headers)).get_span_context()
            if link.is_valid:
                self._span.add_link(link)
            return record
        self._end_span()
        self._begin_span(record)
        return record

    def _begin_span(self, record: Arrival) -> None:
        self._spanned = (record.offset, self.taken)
        parent = context_in(record.headers)
        attributes = SYSTEM | {
            "messaging.operation.type": "process",
            "messaging.destination.name": self.source.topic,
            "messaging.destination.partition.id": str(self.source.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self.around.app_id,
            "flowstream.agent": self.reader.agent.name,
        }
        self._span = tracer().start_span(
            f"process {self.source.topic}", parent, SpanKind.CONSUMER, attributes
        )
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        self._task = asyncio.current_task()

    def _end_span(self) -> None:
        span, self._span, self._spanned = self._span, None, None
        if span is None:
            return
        if self._task is asyncio.current_task():
            contexts.detach(self._token)
        self._token = self._task = None
        span.end()


@cache
def traced_kind(kind: type[Instance]) -> type[Instance]:
    """A kind of instance, with spans."""
    return type(f"Traced{kind.__name__}", (TracedInstance, kind), {})
