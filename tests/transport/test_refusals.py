"""How often one refusal may come: what may be mended in a moment is tried a few times, and told."""

from __future__ import annotations

import pytest

from flowstream.transport.errors import (
    CommitRefused,
    ConnectionLost,
    ConsumerFailed,
    OffsetOutOfRange,
    ProducerFenced,
    RefusedForGood,
    RequestRefused,
    SendFailed,
    SettingRefused,
    TransactionFailed,
    TransportError,
    Unreadable,
    UnreadableRecords,
)
from flowstream.transport.refusals import MOST, REMEMBERED_MS, Refusals, refusal_behind
from flowstream.transport.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode as Code

T0 = TopicPartition("t", 0)
LASTING = [
    RefusedForGood("produce", code=Code.TOPIC_AUTHORIZATION_FAILED),
    RefusedForGood("EndTxn", code=Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, abortable=False),
    RefusedForGood("produce: INVALID_TIMESTAMP", code=Code.INVALID_TIMESTAMP),
    RequestRefused("metadata of topic 't'", Code.TOPIC_AUTHORIZATION_FAILED),
    RequestRefused("offsets", Code.GROUP_AUTHORIZATION_FAILED),
    Unreadable("topic t", Code.TOPIC_AUTHORIZATION_FAILED),
    UnreadableRecords(T0, 7, "the batch does not match its CRC"),
]
COUNTED = [
    TransactionFailed("EndTxn: UNKNOWN", abortable=False, code=Code.UNKNOWN_SERVER_ERROR),
    TransactionFailed("TxnOffsetCommit: INVALID_GROUP_ID", code=Code.INVALID_GROUP_ID),
    SendFailed("refused: t-0: UNKNOWN_SERVER_ERROR", code=Code.UNKNOWN_SERVER_ERROR),
    RequestRefused("InitProducerId", Code.INVALID_TRANSACTION_TIMEOUT),
]
AT_ONCE = [
    OffsetOutOfRange(T0, 3),
    RefusedForGood("produce", code=Code.MESSAGE_TOO_LARGE),
    SettingRefused("joining", Code.INVALID_SESSION_TIMEOUT),
    Unreadable("t-0 cannot be read: KAFKA_STORAGE_ERROR"),
]
NEVER = [
    ConnectionLost("no answer"),
    CommitRefused("a zombie"),
    ProducerFenced("EndTxn: PRODUCER_FENCED"),
    ConsumerFailed("the broker moved"),
    TransactionFailed("PRODUCE: no answer for too long"),
    SendFailed("PRODUCE: no answer for too long; the records may or may not be stored"),
    SendFailed("refused: t-0: NOT_ENOUGH_REPLICAS", code=Code.NOT_ENOUGH_REPLICAS),
    TransactionFailed("EndTxn: TRANSACTION_ABORTABLE", code=Code.TRANSACTION_ABORTABLE),
    RequestRefused("OFFSET_FETCH of group 'g'", Code.COORDINATOR_LOAD_IN_PROGRESS),
]


def named(error: TransportError) -> str:
    return str(error)[:24]


@pytest.mark.parametrize("error", [*LASTING, *COUNTED], ids=named)
def test_V2_a_refusal_that_comes_again_and_again_ends_the_worker(error: TransportError) -> None:
    refusals = Refusals()
    pauses = [refusals.met(error, 1_000 * n) for n in range(MOST - 1)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2]
    for _ in range(2):  # whoever asks once more hears it once more
        with pytest.raises(type(error)) as caught:
            refusals.met(error, 10_000)
        assert caught.value is error


@pytest.mark.parametrize("error", AT_ONCE, ids=named)
def test_V2_what_is_no_use_to_be_tried_again_ends_the_worker_at_once(error: TransportError) -> None:
    with pytest.raises(type(error)):
        Refusals().met(error, 0)


@pytest.mark.parametrize("error", NEVER, ids=named)
def test_V1_silence_and_errors_that_pass_end_nobody(error: TransportError) -> None:
    refusals = Refusals()
    assert {refusals.met(error, n) for n in range(10 * MOST)} == {0.2}


def test_V1_refusals_of_another_thing_and_of_long_ago_do_not_add_up() -> None:
    refusals = Refusals()
    for number in range(10 * MOST):
        other = RequestRefused(f"topic {number}", Code.TOPIC_AUTHORIZATION_FAILED)
        assert refusals.met(other, 0) == 0.2
        assert refusals.met(LASTING[0], (REMEMBERED_MS + 1) * number) == 0.2


@pytest.mark.parametrize(
    ("error", "is_told"), [(LASTING[0], True), (LASTING[-1], True), (COUNTED[0], False)]
)
def test_V1_a_commit_in_between_speaks_for_transactions_and_not_for_rights(
    error: TransportError, is_told: bool
) -> None:
    """Other partitions commit, while one cannot be read."""
    refusals, told = Refusals(), False
    for commits in range(MOST):
        try:
            refusals.met(error, 0, commits)
        except TransportError:
            told = True
    assert told is is_told


def test_V2_what_a_consumer_failed_of_is_found_when_it_is_about_rights() -> None:
    refused = RequestRefused("joining group 'g'", Code.GROUP_AUTHORIZATION_FAILED)
    mixed = RequestRefused("joining group 'g'", Code.INCONSISTENT_GROUP_PROTOCOL)
    for cause, found in ((refused, refused), (mixed, None)):
        error = ConsumerFailed(str(cause))
        error.__cause__ = cause
        assert refusal_behind(error) is (found or error)
    assert "allow this user to read the group" in str(refused)
