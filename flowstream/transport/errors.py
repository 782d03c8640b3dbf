"""The errors of transport, by whose fault: the address, the topic, the generation, the transaction.

Errors of aiokafka and of the operating system are translated into these and never leave transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flowstream.errors import FlowstreamError, WireError
from flowstream.transport.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode


class TransportError(FlowstreamError):
    """The ancestor of what can go wrong between a worker and a cluster."""


class BrokerUnreachable(TransportError):
    """No broker answers at the address; the message names it and the remedy."""


class LoginRefused(TransportError):
    """The broker does not let us in; the message is what it says."""


class NoToken(TransportError):
    """No token to log in with; the message says which file or address has none, and why."""


class ConnectionLost(TransportError):
    """A request got no answer. The broker may have carried it out all the same."""


class UnsupportedByBroker(TransportError):
    """The broker serves no version of an API that is needed."""


REMEDIES: Mapping[int, str] = {
    ErrorCode.SECURITY_DISABLED: (
        "start the broker with a listener of SASL, or with super.users and authorizer.class.name"
        " set (docs/security.md)"
    ),
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: (
        "allow this user what it needs of the topic: Describe, and Read or Write"
    ),
    ErrorCode.GROUP_AUTHORIZATION_FAILED: (
        "allow this user to read the group; that of an app is its id"
    ),
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "allow this user to write and describe its transactional ids: those of an app begin with"
        " its id"
    ),
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "`flowstream topics list` has all that there are",
    ErrorCode.TRANSACTIONAL_ID_NOT_FOUND: "`flowstream transactions list` has all that there are",
}
"""What helps where the broker's own words only say what is wrong."""


class RequestRefused(TransportError):
    """The broker answered with an error that trying again does not cure."""

    def __init__(self, what: str, code: int, message: str | None = None) -> None:
        self.code = code
        remedy = REMEDIES.get(code, "")
        told = f"{what}: {error_name(code)}" + (f" ({message})" if message else "")
        super().__init__(told + (f": {remedy}" if remedy else ""))


class SettingRefused(RequestRefused):
    """The cluster does not allow what this app is set to; the message names the setting."""


class UnknownTopic(TransportError):
    """A topic or partition that the cluster does not have."""


class TopicExists(TransportError):
    """A topic that is to be created is there already."""


class OffsetOutOfRange(TransportError):
    """A position that the partition does not hold (any more). The caller decides (G3)."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        self.tp = tp
        self.offset = offset
        super().__init__(
            f"{tp.topic}-{tp.partition} has no offset {offset}: records were deleted before they "
            "were read, or the topic was created anew. Retention goes by the records' timestamps: "
            "a topic of old events needs retention.ms=-1. `flowstream groups reset-offsets` goes "
            "on without them."
        )


class Unreadable(TransportError, WireError):
    """A partition that cannot be read on, and not later either; the message says where and why.
    `code` is Kafka's error, if there was one.
    """

    def __init__(self, reason: str, code: int = ErrorCode.NONE) -> None:
        self.code = code
        super().__init__(reason)


class UnreadableRecords(Unreadable):
    """What lies in the partition from an offset on is no batch of records, or was damaged on its
    way here (D7).
    """

    def __init__(self, tp: TopicPartition, offset: int, why: object) -> None:
        super().__init__(
            f"{tp.topic}-{tp.partition} cannot be read from offset {offset} on: {why}. Whoever"
            " produced it wrote what no client can read, or it was damaged since (`flowstream"
            " doctor`). `flowstream groups reset-offsets` goes on behind it."
        )


class OffsetsUnstable(TransportError):
    """Offsets of an open transaction did not settle in time (KIP-447)."""


class ConsumerFailed(TransportError):
    """A background task of the group consumer died, stalled, or a listener raised; build a new
    consumer.
    """


class ProducerFenced(TransportError):
    """The producer's epoch is over: its transaction timed out, or another producer has the same
    transactional id.

    `outcome` tells what became of the transaction: "aborted", or "unknown" when an EndTxn went
    unanswered before. Then read the committed offsets: they tell.
    """

    def __init__(self, reason: str, outcome: Literal["aborted", "unknown"] = "aborted") -> None:
        self.outcome = outcome
        super().__init__(f"{reason}; the outcome of its last transaction: {outcome}")


class CommitRefused(TransportError):
    """The group has moved on: member or generation of the offsets is no longer the current one
    (G1). Abort, drop what was done, and join again.
    """


class GenerationPassed(CommitRefused):
    """The group is in another generation than the offsets. A member that goes over into it with
    all it owns may offer them again: the transaction is still open.
    """


class SharesAwaited(GenerationPassed):
    """The group is in the generation of the offsets, and its shares are not given out yet: they
    may be offered again as soon as they are.
    """


class InstanceFenced(CommitRefused):
    """Another member joined with the same `group_instance_id` (KIP-345): this one is out of the
    group for good.
    """


class TransactionFailed(TransportError):
    """The transaction cannot be committed. When `abortable`, abort() makes the session ready for
    the next one; else the error will come back. `code` is Kafka's error, if that is what it was.
    """

    def __init__(self, reason: str, *, abortable: bool = True, code: int = ErrorCode.NONE) -> None:
        super().__init__(reason)
        self.abortable = abortable
        self.code = code


class SendFailed(TransportError):
    """A record outside of transactions was refused, or its fate is unknown. `code` is Kafka's
    error, if that is what it was.
    """

    def __init__(self, reason: str, *, code: int = ErrorCode.NONE) -> None:
        super().__init__(reason)
        self.code = code


class RefusedForGood(TransactionFailed, SendFailed):
    """The broker refuses these records and would refuse them again: doing the work anew is no way
    out. The message names the topic, Kafka's error and the remedy.
    """


def error_name(code: int) -> str:
    """Kafka's name of an error code."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"
