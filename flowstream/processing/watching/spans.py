"""Spans, and the trace context (W3C) that records carry in their headers.

Imported only where traces are taken (see `tracing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

Pairs = Sequence[tuple[str, bytes | None]]

SYSTEM: dict[str, str | int] = {"messaging.system": "kafka"}


def tracer() -> trace.Tracer:
    """Ours, of the process's provider."""
    return trace.get_tracer("flowstream")


def context_in(headers: Pairs) -> Context:
    """The trace context that a record carries; an empty one when it carries none."""
    carrier = {
        name: value.decode("utf-8", "replace") for name, value in headers if value is not None
    }
    return propagate.extract(carrier, Context())


def context_of(span: Span) -> dict[str, bytes]:
    """A span's context as headers."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return {name: value.encode() for name, value in carrier.items()}


def carrying(
    headers: Pairs, context: Mapping[str, bytes], came: Pairs = ()
) -> tuple[tuple[str, bytes | None], ...]:
    """Headers with a context. One that the app gave a record itself stays; one that came with the
    unit's record and was only handed on is replaced.
    """
    own = [pair for pair in headers if pair[0] not in context or pair not in came]
    if any(name in context for name, _ in own):
        return tuple(own)
    return (*own, *context.items())


@contextmanager
def send_span(topic: str, headers: Pairs) -> Iterator[Pairs]:
    """A span around sending a record outside of agents."""
    attributes = SYSTEM | {"messaging.operation.type": "send", "messaging.destination.name": topic}
    with tracer().start_as_current_span(
        f"send {topic}", kind=SpanKind.PRODUCER, attributes=attributes
    ) as span:
        yield carrying(headers, context_of(span))
