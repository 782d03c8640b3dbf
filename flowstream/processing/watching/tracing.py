"""Traces by OpenTelemetry: whether there are any, asked when a task opens or a record is sent.

Nothing of OpenTelemetry is imported before the app's process has set it up: what is not installed,
or not configured, costs one look into a dict there, and nothing per event.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
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


def tracer_now() -> Any:
    """The tracer where there are traces; else None."""
    if not is_active():
        return None
    from flowstream.processing.watching.spans import tracer

    return tracer()


@contextmanager
def around(name: str, attributes: Mapping[str, Any], *, is_wanted: bool = True) -> Iterator[Any]:
    """A span around a block, where there are traces; gives it, or None."""
    tracer = tracer_now() if is_wanted else None
    if tracer is None:
        yield None
        return
    with tracer.start_as_current_span(name, attributes=dict(attributes)) as span:
        yield span


def traced(function: F, name: str, attributes: Mapping[str, Any]) -> F:
    """The function, with a span around each call."""

    @functools.wraps(function)
    async def awaited(*given: Any, **options: Any) -> Any:
        with around(name, attributes):
            return await function(*given, **options)

    @functools.wraps(function)
    def called(*given: Any, **options: Any) -> Any:
        with around(name, attributes):
            return function(*given, **options)

    return cast("F", awaited if inspect.iscoroutinefunction(function) else called)
