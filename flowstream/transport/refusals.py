"""How often the cluster may refuse the same thing before the worker ends with it.

Pure: it decides by the errors that came, and has no clock. Some refusals are over in a moment:
rights that are being changed, bytes that were damaged on their way, times at the edge of what a
topic takes. Those that come again and again are told by the worker's end, as going back to the last
commit for ever would tell nobody (V2).
"""

from __future__ import annotations

from flowstream.transport.errors import (
    ConsumerFailed,
    InstanceFenced,
    OffsetOutOfRange,
    RefusedForGood,
    RequestRefused,
    SendFailed,
    SettingRefused,
    TransactionFailed,
    TransportError,
    Unreadable,
    UnreadableRecords,
)
from flowstream.wire.error_codes import ErrorCode, retriable

MOST = 6
"""So often in a row one refusal may come: with the pauses between, some six seconds."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 3.2
REMEMBERED_MS = 300_000
"""What has not come again for so long is over. A large table may be restored in between."""

FATAL = (OffsetOutOfRange, RefusedForGood, InstanceFenced, SettingRefused, Unreadable)
"""Errors that doing the work again would meet again. Going on elsewhere would skip or repeat
records behind the app's back (G3); going on for ever would tell nobody (V2).
"""
RIGHTS = frozenset(
    (
        ErrorCode.TOPIC_AUTHORIZATION_FAILED,
        ErrorCode.GROUP_AUTHORIZATION_FAILED,
        ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
    )
)

CHANGING = RIGHTS | {ErrorCode.INVALID_TIMESTAMP}
"""What a topic takes as a time is told from now: what was right as it was sent may be too old as it
commits, and fails its event when that is done again; and no two machines' clocks are the same.
"""


class Refusals:
    """What was refused of late."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int, int]] = {}

    def met(self, error: TransportError, now_ms: int, commits: int = 0) -> float:
        """An error came, after so many commits: for how many seconds to wait before the next try.
        Raises what the worker is to end with: the error, or what is behind it.
        """
        refusal = refusal_behind(error)
        if ends_at_once(refusal):
            raise refusal
        if not is_counted(refusal):
            return FIRST_PAUSE_S
        what = f"{type(refusal).__name__}: {refusal}"
        times, at_ms, before = self._counts.get(what, (0, now_ms, commits))
        if now_ms - at_ms > REMEMBERED_MS or (before != commits and not is_lasting(refusal)):
            times = 0
        self._counts[what] = times + 1, now_ms, commits
        if times + 1 >= MOST:
            raise refusal
        return min(FIRST_PAUSE_S * 2.0**times, LONGEST_PAUSE_S)


def refusal_behind(error: TransportError) -> TransportError:
    """The refusal that ended a consumer, or the error itself. A group that does not take the worker
    for other reasons is waited for: its other members may be stopped, or leave.
    """
    cause = error.__cause__
    if isinstance(error, ConsumerFailed) and isinstance(cause, RequestRefused):
        return cause if code_of(cause) in RIGHTS else error
    return error


def ends_at_once(error: TransportError) -> bool:
    """Whether there is no use in another try."""
    return isinstance(error, FATAL) and not is_lasting(error)


def is_lasting(error: TransportError) -> bool:
    """Whether a refusal is about rights, times, or what lies in a partition: it may be over at any
    moment, and that other things are committed meanwhile says nothing of it.
    """
    return isinstance(error, UnreadableRecords) or code_of(error) in CHANGING


def is_counted(error: TransportError) -> bool:
    """Whether it is the cluster's no, and neither its silence nor an error that Kafka's clients
    take for one that passes.
    """
    if is_lasting(error):
        return True
    code = code_of(error)
    if isinstance(error, Unreadable) or code == ErrorCode.NONE:
        return False
    return not retriable(code) and code != ErrorCode.TRANSACTION_ABORTABLE


def code_of(error: TransportError) -> int:
    """Kafka's error behind one of ours; NONE where it is not about one answer."""
    if isinstance(error, RequestRefused | TransactionFailed | SendFailed | Unreadable):
        return error.code
    return ErrorCode.NONE
