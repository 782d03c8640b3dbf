"""Traces by OpenTelemetry: whether there are any, asked when a task opens or a record is sent.

Nothing of OpenTelemetry is imported before the app's process has set it up: what is not installed,
or not configured, costs one look into a dict there, and nothing per event.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from flowstream.processing.instance import Instance

I = TypeVar("I", bound="Instance")  # noqa: E741 - an instance
Pairs = Sequence[tuple[str, bytes | None]]


def is_active() -> bool:
    """Whether this process has a tracer provider that does something."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    idle = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return not isinstance(trace.get_tracer_provider(), idle)


def traced(kind: type[I]) -> type[I]:
    """The kind of instance to open: with spans where traces are taken."""
    if not is_active():
        return kind
    from flowstream.processing.spans import traced_kind

    return cast("type[I]", traced_kind(cast("Any", kind)))


@contextmanager
def sending(topic: str, headers: Pairs) -> Iterator[Pairs]:
    """The headers of a record that is sent outside of agents, with a span around it."""
    if not is_active():
        yield headers
        return
    from flowstream.processing.spans import send_span

    with send_span(topic, headers) as carrying:
        yield carrying
