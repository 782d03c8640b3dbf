"""Checker 1 against one illegal history per anomaly, and 1,000 random legal ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkers.history import (
    Committed,
    Drained,
    End,
    GroupPartition,
    Operation,
    Outcome,
    Partition,
    Poll,
    Reset,
    Seek,
    Send,
    Watermarks,
)
from tests.checkers.legal import Rng, legal_history
from tests.checkers.log import check

P0, P1 = Partition("t", 0), Partition("t", 1)
G0 = GroupPartition("g", P0)
OK, FAIL, UNKNOWN = Outcome.OK, Outcome.FAIL, Outcome.UNKNOWN


def sent(value: str, offset: int | None, transaction: str | None = None, **kw: object) -> Send:
    """An acknowledged send of session s to P0."""
    partition = kw.get("partition", P0)
    assert isinstance(partition, Partition)
    outcome = kw.get("outcome", OK)
    assert isinstance(outcome, Outcome)
    return Send("s", partition, value, outcome, offset, transaction)


def polled(*records: tuple[int, str], reader: str = "r", partition: Partition = P0) -> Poll:
    """A read_committed poll."""
    return Poll(reader, partition, records)


A, B, C = sent("a", 0), sent("b", 1), sent("c", 2)
ILLEGAL: dict[str, Sequence[Operation]] = {
    "inconsistent offset": [A, polled((0, "a")), polled((0, "b"), reader="q"), B],
    "duplicate": [A, polled((0, "a"), (1, "a"))],
    "phantom": [A, polled((0, "a"), (1, "never sent"))],
    "refused read": [sent("x", None, outcome=FAIL), polled((0, "x"))],
    "aborted read": [sent("x", 0, "tx"), End("tx", False, OK), polled((0, "x"))],
    "lost write": [A, B, C, polled((0, "a"), (2, "c")), Drained("r", P0)],
    "unseen": [A, B, polled((0, "a")), Drained("r", P0)],
    "reordered": [sent("a", 1), sent("b", 0), polled((0, "b"), (1, "a"))],
    "non-monotonic poll": [A, B, polled((0, "a"), (1, "b")), polled((0, "a"))],
    "skip": [A, B, C, Seek("r", P0, 0), polled((0, "a")), polled((2, "c"))],
    "torn transaction": [
        sent("x", 0, "tx"),
        sent("y", 0, "tx", partition=P1),
        End("tx", True, UNKNOWN),
        polled((0, "x")),
        Drained("r", P0),
        Drained("r", P1),
    ],
    "watermark order": [Watermarks(P0, 0, 6, 5, 7)],
    "watermark went back": [Watermarks(P0, 0, 5, 5, 5), Watermarks(P0, 0, 4, 4, 5)],
    "offset went back": [Committed(G0, 7), Committed(G0, 3)],
}


@pytest.mark.parametrize("name", sorted(ILLEGAL))
def test_illegal_history_is_caught(name: str) -> None:
    assert name in {anomaly.name for anomaly in check(ILLEGAL[name])}


def test_L1_a_record_in_another_partition_than_its_own() -> None:
    elsewhere = sent("a", None, outcome=UNKNOWN)
    found = check([elsewhere, polled((0, "a"), partition=P1)])
    assert [anomaly.name for anomaly in found] == ["phantom"]


def test_T9_offsets_without_their_records() -> None:
    history = [
        sent("x", 0, "tx"),
        End("tx", True, UNKNOWN, {G0: 9}),
        Drained("r", P0),
        Committed(G0, 9, final=True),
    ]
    assert [a.name for a in check(history)] == ["torn transaction"]


def test_T9_records_without_their_offsets() -> None:
    history = [
        sent("x", 0, "tx"),
        End("tx", True, UNKNOWN, {G0: 9}),
        polled((0, "x")),
        Drained("r", P0),
        Committed(G0, 4, final=True),
    ]
    assert [a.name for a in check(history)] == ["torn transaction"]


def test_T8_a_transaction_without_an_end_may_be_either() -> None:
    for records in (((0, "x"),), ()):
        assert check([sent("x", 0, "tx"), polled(*records), Drained("r", P0)]) == []


def test_uncommitted_readers_may_see_aborted_data() -> None:
    history = [sent("x", 0, "tx"), End("tx", False, OK), Poll("u", P0, ((0, "x"),), False)]
    assert check(history) == []


def test_G6_an_explicit_reset_is_legal() -> None:
    assert check([Committed(G0, 7), Reset(G0), Committed(G0, 3)]) == []


@settings(
    max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(st.randoms(use_true_random=True))
def test_a_thousand_legal_histories_pass(rng: Rng) -> None:
    history = legal_history(rng)
    assert check(history) == []
