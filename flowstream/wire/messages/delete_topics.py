"""DeleteTopics (20): delete topics.

4 is flexible; 5 adds an error message; 6 deletes by id (KIP-516).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, UUID, array, field, message, struct


@struct
class DeleteTopicState:
    """One of the `topics` of `DeleteTopicsRequest`."""

    name: str | None = field(STRING, "6+", nullable="6+", default=None)
    topic_id: bytes = field(UUID, "6+")


@message(versions="1-6", flexible="4+")
class DeleteTopicsRequest:
    """Names, or from version 6 names or ids."""

    topics: tuple[DeleteTopicState, ...] = field(array(DeleteTopicState), "6+")
    topic_names: tuple[str, ...] = field(array(STRING), "0-5", ignorable=True)
    timeout_ms: int = field(INT32, "0+")


@struct
class DeletableTopicResult:
    """One of the `responses` of `DeleteTopicsResponse`."""

    name: str | None = field(STRING, "0+", nullable="6+")
    topic_id: bytes = field(UUID, "6+", ignorable=True)
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)


@message(versions="1-6", flexible="4+")
class DeleteTopicsResponse:
    """The outcome, by topic."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    responses: tuple[DeletableTopicResult, ...] = field(array(DeletableTopicResult), "0+")
