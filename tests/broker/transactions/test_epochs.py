"""Producers that recover (KIP-360) and producer ids whose epochs are used up (KIP-890)."""

from __future__ import annotations

from flowstream.broker.transactions.coordinator import Owner
from flowstream.broker.transactions.markers import markers_of
from flowstream.broker.transactions.transitions import MAX_EPOCH
from flowstream.wire.error_codes import ErrorCode
from tests.broker.transactions.story import V1, A, Story


def test_KIP360_a_producer_that_recovers_keeps_its_id() -> None:
    story = Story()
    owner = story.init().owner
    recovered = story.init(expected=owner)
    assert recovered.owner == Owner(500, 1)
    # The answer was lost: the same call again gives the same answer.
    assert story.init(expected=owner).owner == Owner(500, 1)
    # Somebody else took over: fenced.
    story.init()
    assert story.init(expected=owner).error is ErrorCode.PRODUCER_FENCED
    assert story.init(expected=Owner(77, 0)).error is ErrorCode.PRODUCER_FENCED


def test_KIP360_a_forgotten_producer_may_recover() -> None:
    assert Story().init(expected=Owner(77, 5)).owner == Owner(500, 0)


def test_v1_epochs_used_up_give_a_new_producer_id() -> None:
    story = Story(epoch=MAX_EPOCH - 1)
    old = story.owner
    assert story.init().owner == Owner(500, 0)
    assert story.init(expected=old).error is ErrorCode.PRODUCER_FENCED
    assert "t" not in [story.core.by_producer_id.get(499)]


def test_KIP360_a_retry_across_the_id_change_is_recognised() -> None:
    story = Story(epoch=MAX_EPOCH - 1)
    old = story.owner
    assert story.init(expected=old).owner == Owner(500, 0)
    assert story.init(expected=old).owner == Owner(500, 0)


def test_v2_epochs_used_up_at_the_end_of_a_transaction_give_a_new_producer_id() -> None:
    story = Story(epoch=MAX_EPOCH - 1)
    old = story.owner
    story.add(old, A)
    ended = story.end(old)
    assert ended.owner == Owner(500, 0)
    (marker,) = markers_of(story.transaction)
    assert (marker.producer_id, marker.producer_epoch) == (499, MAX_EPOCH)
    assert story.end(old).error is ErrorCode.CONCURRENT_TRANSACTIONS
    story.complete()
    assert story.owner == Owner(500, 0)
    # T2 across the change: a repeat gets the same answer, the other outcome none.
    again = story.end(old)
    assert (again.error, again.record, again.owner) == (ErrorCode.NONE, None, Owner(500, 0))
    assert story.end(old, commit=False).error is ErrorCode.INVALID_TXN_STATE
    assert story.add(old, A) is ErrorCode.INVALID_PRODUCER_ID_MAPPING


def test_a_fence_at_the_last_epoch_gives_a_new_producer_id() -> None:
    story = Story(epoch=MAX_EPOCH - 1)
    story.add(story.owner, A, version=V1)
    story.init()
    assert story.transaction.producer_epoch == MAX_EPOCH
    story.complete()
    assert story.owner == Owner(500, 0)
    assert story.init().owner == Owner(500, 1)
