"""What becomes of an event that an agent fails on, and how long to wait between tries. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError, RowUnreadable, Skip, TableElsewhere
from flowstream.processing.values.durations import Seconds, milliseconds

Then = Literal["stop", "skip", "dead_letter"]
OnErrorName = Literal["stop", "skip", "retry", "dead_letter", "park"]
Action = OnErrorName | Literal["pass_over"]
"""What is done, also with an event that its agent wants to be passed over."""

NAMES: tuple[OnErrorName, ...] = ("stop", "skip", "retry", "dead_letter", "park")
NO_EVENTS_FAULT = (TableElsewhere, RowUnreadable)
"""A declaration that does not fit the partitions, or the rows of before: the code is to be mended,
and the event is to be there then.
"""
LONGEST_BACKOFF = 100
"""Pauses grow up to so many times the first one, unless the policy says otherwise."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What `on_error` says. `times` None: for ever; pauses in seconds, None: the app's."""

    action: OnErrorName
    times: int | None = None
    backoff_s: float | None = None
    longest_s: float | None = None
    then: Then = "stop"

    def action_on(self, error: Exception) -> Action:
        """What becomes of an event that failed so: where it is no fault of the event, and what
        follows would fail as well, the worker stops; where `Skip` says so it is passed over.

        >>> Policy("skip").action_on(ValueError()), Policy("skip").action_on(TableElsewhere())
        ('skip', 'stop')
        """
        if isinstance(error, Skip):
            return "pass_over"
        return "stop" if isinstance(error, NO_EVENTS_FAULT) else self.action

    def is_spent(self, failures: int) -> bool:
        """Whether that many failures of one event are enough."""
        return self.times is not None and failures > self.times

    def pause_s(self, failures: int, app_backoff_s: float) -> float:
        """How long to wait after the n-th failure: twice as long each time.

        >>> [Policy("retry", backoff_s=1, longest_s=5).pause_s(n, 0.1) for n in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5]
        """
        first = app_backoff_s if self.backoff_s is None else self.backoff_s
        longest = LONGEST_BACKOFF * first if self.longest_s is None else self.longest_s
        return min(first * 2.0 ** min(failures - 1, 30), longest)


OnError = OnErrorName | Policy


def policy_of(on_error: OnError, agent: str) -> Policy:
    """A policy by its name, or as it is."""
    if isinstance(on_error, Policy):
        return on_error
    if on_error not in NAMES:
        raise AppError(
            f"agent {agent!r}: on_error must be one of {', '.join(NAMES)}, or what fs.retry() or"
            f" fs.park() give, not {on_error!r}"
        )
    return park() if on_error == "park" else Policy(on_error)


def retry(
    times: int | None = None, *, backoff: Seconds | None = None, longest: Seconds | None = None,
    then: Then = "stop",
) -> Policy:  # fmt: skip
    """Try an event again, `times` at most, with pauses from `backoff` seconds on that double up to
    `longest`; `then` stop, skip it, or make it a dead letter. The partition waits meanwhile.
    """
    return _checked("retry", times, backoff, longest, then)


def park(
    times: int | None = 10, *, backoff: Seconds | None = 1.0, longest: Seconds | None = 300.0,
    then: Then = "dead_letter",
) -> Policy:  # fmt: skip
    """Put an event that fails aside, with all later ones of its key, and go on with the others.

    It is tried again after `backoff` seconds, then twice as long, up to `longest`; after `times`
    tries it is a dead letter (or what `then` says), and the next one of its key gets its turn. The
    order within a key holds, and parked events survive restarts: they are rows of a table.
    """
    return _checked("park", times, backoff, longest, then)


def _checked(
    action: OnErrorName, times: int | None, backoff: Seconds | None, longest: Seconds | None,
    then: Then,
) -> Policy:  # fmt: skip
    if times is not None and type(times) is not int:
        raise AppError(f"{action}: times is a whole number, or None, not {described(times)}")
    if times is not None and times < 1:
        raise AppError(f"{action}(times={times}) would never try again: give 1 or more, or None")
    if then not in ("stop", "skip", "dead_letter"):
        raise AppError(f"then= is 'stop', 'skip' or 'dead_letter', not {then!r}")
    pauses = [None if span is None else milliseconds(span) / 1000 for span in (backoff, longest)]
    if any(pause is not None and pause < 0 for pause in pauses):
        raise AppError("a pause cannot be negative")
    return Policy(action, times, pauses[0], pauses[1], then)


SUPERVISORS: Final[Mapping[str, OnError]] = {
    "CrashingSupervisor": "stop",
    "OneForOneSupervisor": "skip",
    "OneForAllSupervisor": "skip",
}
"""What an agent does about a failed event that Faust's supervisor of that name goes on after."""


def supervised(strategy: Any) -> OnError:
    """A policy by the name of a supervisor of `mode`, or by its class.

    >>> supervised("mode.CrashingSupervisor")
    'stop'
    """
    name = str(getattr(strategy, "__name__", strategy)).rpartition(".")[2].rpartition(":")[2]
    if name not in SUPERVISORS:
        raise AppError(
            f"supervisor {strategy!r} is not {', '.join(SUPERVISORS)}: say on_error= of the agent"
        )
    return SUPERVISORS[name]


def policy_for(on_error: OnError | None, strategy: Any, usual: str) -> OnError:
    """What an agent says of failed events: by one of the two names, or the app's policy."""
    if strategy is None:
        return cast("OnError", usual) if on_error is None else on_error
    if on_error is not None:
        raise AppError("@app.agent: on_error and supervisor_strategy say the same: leave one out")
    return supervised(strategy)
