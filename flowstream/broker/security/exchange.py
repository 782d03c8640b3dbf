"""What the steps of a login look like, whatever the mechanism."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Challenge:
    """Go on: these bytes are the client's."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Success:
    """The client is the user `name`, until `expires_ms` if its proof itself ends."""

    data: bytes = field(repr=False)
    name: str = ""
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The client is nobody. `reason` is for the log; it holds nothing that the client sent (X5)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Proving:
    """The client's proof takes long to check: `work` is for another thread, and `judge` makes of
    its result what comes next.
    """

    work: Callable[[], bytes] = field(repr=False)
    judge: Callable[[bytes], Success | Failure] = field(repr=False)


Step = Challenge | Success | Failure | Proving


class Exchange(Protocol):
    """One login in progress."""

    def step(self, data: bytes, now: int) -> Step:
        """The answer to the client's next message."""
        ...
