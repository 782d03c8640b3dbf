"""Branches: a sink that sends each value to the first topic that wants it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic

Case = tuple[Callable[[Any], bool], Topic[Any, Any]]


class Branch:
    """See `branch`."""

    def __init__(self, cases: tuple[Case, ...], default: Topic[Any, Any] | None) -> None:
        self.cases = cases
        self.default = default

    @property
    def topics(self) -> list[Topic[Any, Any]]:
        """All topics that values may go to."""
        found = [topic for _, topic in self.cases]
        return found if self.default is None else [*found, self.default]

    def pick(self, value: Any) -> Topic[Any, Any] | None:
        """Where a value goes; None: nowhere. TypeError for None where that is no value."""
        found = next((topic for wants, topic in self.cases if wants(value)), self.default)
        if value is None and found is not None:
            found.encode_yielded(None)
        return found


def branch(*cases: Case, default: Topic[Any, Any] | None = None) -> Branch:
    """A sink that sends each value to the topic of the first case whose predicate is true of it,
    else to `default`; without one it is dropped.

    >>> from flowstream import App
    >>> app = App("shop")
    >>> large, small = app.topic("large"), app.topic("small")
    >>> by_sum = branch((lambda order: order["sum"] > 100, large), default=small)
    >>> @app.agent(app.topic("orders"), sink=[by_sum])
    ... async def route(stream):
    ...     async for order in stream:
    ...         yield order
    """
    checked: Sequence[Any] = cases
    for case in checked:
        if not (isinstance(case, tuple) and len(case) == 2 and callable(case[0])):
            raise AppError(f"a case of branch() is (predicate, topic), not {case!r:.100}")
        if not isinstance(case[1], Topic):
            raise AppError(f"branch() sends to topics, not to {case[1]!r:.100}")
    return Branch(cases, default)
