"""One synthetic history per anomaly of a compacted topic; legal ones must pass."""

from __future__ import annotations

from tests.checkers.compacted import Keyed, View, check
from tests.checkers.history import End, Outcome, Partition, Send

WHERE = Partition("table", 0)
Seen = tuple[int, str, str | None]


def sent(
    offset: int | None,
    key: str,
    value: str,
    outcome: Outcome = Outcome.OK,
    transaction: str | None = None,
    *,
    tombstone: bool = False,
) -> Keyed:
    return Keyed(Send("s", WHERE, value, outcome, offset, transaction), key, tombstone)


def names(keyed: list[Keyed], *seen: Seen, drained: bool = True, ends: tuple[End, ...] = ()) -> set:
    view = View("r", seen, committed_only=True, drained=drained)
    return {(anomaly.name, anomaly.invariant) for anomaly in check(keyed, ends, [view])}


def test_superseded_records_and_deleted_keys_may_be_gone() -> None:
    keyed = [
        sent(0, "a", "v0"),
        sent(1, "b", "v1"),
        sent(2, "a", "v2"),
        sent(3, "b", "v3", tombstone=True),
    ]
    assert names(keyed, (2, "a", "v2"), (3, "b", None)) == set()
    assert names(keyed, (2, "a", "v2")) == set()


def test_L7_the_last_committed_value_must_be_there() -> None:
    keyed = [sent(0, "a", "v0"), sent(1, "a", "v1")]
    assert names(keyed, (0, "a", "v0")) == {("lost value", "L7")}
    assert names(keyed) == {("lost value", "L7")}
    assert names(keyed, (0, "a", "v0"), drained=False) == set()


def test_L7_an_aborted_record_supersedes_nothing() -> None:
    keyed = [sent(0, "a", "v0"), sent(1, "a", "v1", transaction="t")]
    aborted = (End("t", commit=False, outcome=Outcome.OK),)
    assert names(keyed, (0, "a", "v0"), ends=aborted) == set()
    assert names(keyed, ends=aborted) == {("lost value", "L7")}
    assert names(keyed, (1, "a", "v1"), ends=aborted) == {("aborted read", "T8"), ("skip", "C1")}


def test_C1_a_reader_passes_nothing_that_still_counts() -> None:
    keyed = [sent(0, "a", "v0"), sent(1, "b", "v1")]
    assert names(keyed, (1, "b", "v1"), drained=False) == {("skip", "C1")}
    unknown = [*keyed, sent(None, "a", "v9", Outcome.UNKNOWN)]
    assert names(unknown, (1, "b", "v1"), drained=False) == set()


def test_L1_an_offset_has_one_value() -> None:
    keyed = [sent(0, "a", "v0"), sent(1, "a", "v1")]
    assert ("phantom", "L1") in names(keyed, (0, "a", "x"), (1, "a", "v1"))
    views = [View(str(n), ((0, "a", f"v{n}"), (1, "a", "v1")), True, True) for n in range(2)]
    assert "inconsistent offset" in {anomaly.name for anomaly in check(keyed, (), views)}
    for wrong in ((0, "a", None), (0, "a", "v1"), (0, "b", "v0")):
        assert ("inconsistent offset", "L1") in names(keyed, wrong)
    before: dict[int, str | None] = {1: "v9"}
    view = View("r", ((1, "a", "v1"),), committed_only=True, drained=True)
    assert {anomaly.name for anomaly in check(keyed, (), [view], before)} == {"inconsistent offset"}
    assert ("non-monotonic poll", "L1") in names(keyed, (1, "a", "v1"), (0, "a", "v0"))
