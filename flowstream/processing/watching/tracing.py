"""Traces by OpenTelemetry: whether there are any, asked when a task opens or a record is sent.

Nothing of OpenTelemetry is imported before the app's process has set it up: what is not installed,
or not configured, costs one look into a dict there, and nothing per event.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Pairs = Sequence[tuple[str, bytes | None]]


def is_active() -> bool:
    """Whether this process has a tracer provider that does something."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    idle = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return not isinstance(trace.get_tracer_provider(), idle)


@contextmanager
def sending(topic: str, headers: Pairs) -> Iterator[Pairs]:
    """The headers of a record that is sent outside of agents, with a span around it."""
    if not is_active():
        yield headers
        return
    from flowstream.processing.watching.spans import send_span

    with send_span(topic, headers) as carrying:
        yield carrying
