"""One agent under test, as Faust's `agent.test_context` has it. Shell over an `AppContext`."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

from flowstream.errors import FlowstreamError
from flowstream.processing.agents.agent import Agent
from flowstream.processing.app import App
from flowstream.testing.context import AppContext


class Put(NamedTuple):
    """Where a value went; `results` of the context has what the agent yielded for it."""

    partition: int
    offset: int


class AgentContext:
    """An agent that gets values and keeps what it yields; its sinks get it, too.

    `results` are the values yielded, by the offset of the event (of an agent that yields several
    for one event the last), `yielded` all of them in order.
    """

    def __init__(self, agent: Agent[Any], app: App, **options: Any) -> None:
        self.results: dict[int, Any] = {}
        self.yielded: list[Any] = []
        self.context = AppContext(app, **options)
        self._agent = agent
        self._sinks = agent.sinks
        self._offset = -1

    async def __aenter__(self) -> AgentContext:
        """Start the app."""
        if self._agent.inner is not None:
            raise FlowstreamError(
                f"agent {self._agent.name!r} reads no topic: use app.test_context() and let time"
                " pass with context.advance(seconds)"
            )
        self._agent.sinks = (*self._sinks, self._keep)
        try:
            self.context.__enter__()
        except BaseException:
            self._agent.sinks = self._sinks
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        try:
            self.context.__exit__(kind, error, trace)
        finally:
            self._agent.sinks = self._sinks

    async def put(
        self, value: Any = None, *, key: Any = None, timestamp: float | None = None
    ) -> Put:
        """Give the agent a value, and wait until it is done with it."""
        box = self.context.topic(self._agent.source_topic)
        before = len(self.yielded)
        sent = box.send(value, key=key, timestamp=timestamp)
        assert sent.offset is not None, "a send outside of agents knows its offset"
        if len(self.yielded) > before:
            self.results[sent.offset] = self.yielded[-1]
        return Put(sent.partition, sent.offset)

    def _keep(self, value: Any) -> None:
        self.yielded.append(value)
