"""The errors that processing raises, by whose fault: the app's, the cluster's, a record's.

Every message says what is wrong and what to do about it. Nothing here knows why it is raised.
"""

from __future__ import annotations

import re

from flowstream.errors import FlowstreamError

ADDRESSES = re.compile(r"\s+For further information visit https://errors\.pydantic\.dev/\S+")
"""Where pydantic explains its errors: for whoever calls it, not for who reads a report."""
LONGEST_REASON = 300
LONGEST_TEXT = 8_000
"""An error may hold all of the event. A report of it has to fit into a record beside that."""


def text_of(error: BaseException) -> str:
    """What an error says, for a report: something in any case, and no more than fits into one.

    >>> text_of(ValueError("x" * 10_000)) == "x" * 8_000 + "..."
    True
    """
    try:
        text = ADDRESSES.sub("", str(error))
    except Exception as failed:  # noqa: BLE001 - the error is somebody else's code
        return f"(it does not say what: its __str__ raised {type(failed).__name__})"
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."


def reason(error: BaseException) -> str:
    """An error in one line of a log; all of it is in the dead letter's headers."""
    text = " ".join(f"{type(error).__name__}: {text_of(error)}".split())
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."


class AppError(FlowstreamError):
    """The app is declared in a way that cannot run; the message says what to change."""


class AppExited(FlowstreamError):
    """The app's own code called `sys.exit`: the worker has committed what was complete and stopped.

    `code` is what it gave; `flowstream worker` ends with that status.
    """

    def __init__(self, who: str, asked: SystemExit) -> None:
        super().__init__(f"{who} called sys.exit({'' if asked.code is None else repr(asked.code)})")
        self.code = asked.code


class SettingsError(AppError):
    """A setting is unknown or has a bad value; the message names it and the remedy."""


class NotInAgent(FlowstreamError):
    """A table was used, or an agent sent, where no event is being processed."""


class PartitionMismatch(AppError):
    """Topics and tables that are used together have different numbers of partitions."""


class TableElsewhere(PartitionMismatch):
    """An agent uses a table that its partitions have no part of. No event of it can go well, so
    that the worker stops, whatever the agent's policy is.
    """


class TopicMissing(AppError):
    """An input topic does not exist and its declaration does not say how to create it."""


class StateLost(FlowstreamError):
    """A changelog is gone or shorter than what this worker's state was built from."""


class QueryError(FlowstreamError):
    """A table could not be read from outside of its agents."""


class QueryTimeout(QueryError):
    """The committed state did not cover the records that it should in time."""


class TableUnavailable(QueryError):
    """Nobody answers for a table's partition now: it moves, is restored, or no worker runs."""


class Misdirected(TableUnavailable):
    """The worker that was asked does not own that partition (any more)."""


class TooStale(QueryError):
    """The committed state is further behind its input than the query allows."""


class DecodeError(FlowstreamError):
    """A record's key or value does not decode to the declared type."""


class RowUnreadable(FlowstreamError):
    """A table's row is older than its value type; the message names table, key and field. No fault
    of the event that needs it: the worker stops, whatever the agent's policy is.
    """


class AgentUnknown(FlowstreamError):
    """A dead letter was sent back to an agent that its app does not have on that topic."""


class LotFull(FlowstreamError):
    """An event whose key has as many parked as a row can hold."""


class LateEvent(FlowstreamError):
    """An event that came after its windows had closed."""


class RecordTooLarge(FlowstreamError):
    """A record that its topic would not take; the message names the topic and the remedy."""


class RecordMistimed(FlowstreamError):
    """A record whose time its topic would not take; the message names the topic and the remedy."""


class RowsContested(FlowstreamError):
    """A unit of a concurrent agent whose rows others keep changing while it awaits."""


class Skip(FlowstreamError):
    """Raised by an agent, or by what it calls: the event is passed over, whatever the agent's
    policy is. What it did leaves no trace.
    """


class AgentFailed(FlowstreamError):
    """An agent raised and its policy is `stop`; the message names agent, topic and offset."""
