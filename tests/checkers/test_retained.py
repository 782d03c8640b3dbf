"""One synthetic log under retention per anomaly; legal ones must pass."""

from __future__ import annotations

from tests.checkers.retained import OVERHEAD, Bounds, Cut, Start, Written, check, gaps

AGE = Bounds(ms=1000)
SIZE = Bounds(bytes=3 * (OVERHEAD + 100))
LOG = [Written(n, 100 * n, 100) for n in range(10)]


def names(starts: list[Start], bounds: Bounds, *cuts: Cut) -> set[tuple[str, str]]:
    return {(anomaly.name, anomaly.invariant) for anomaly in check(LOG, starts, cuts, bounds)}


def test_what_is_old_or_too_much_may_go() -> None:
    assert names([Start(0, 0, 1), Start(3, 1200, 1201), Start(10, 1901, 1902)], AGE) == set()
    assert names([Start(7, 900, 901)], SIZE) == set()


def test_L8_a_log_start_only_rises() -> None:
    assert names([Start(3, 1300, 1301), Start(2, 1302, 1303)], AGE) == {
        ("log start went back", "L8")
    }


def test_L2_nothing_goes_before_its_time() -> None:
    assert names([Start(3, 1198, 1200)], AGE) == {("deleted too young", "L2")}
    assert names([Start(3, 5000, 5001), Start(9, 1100, 1100)], AGE) == {("deleted too young", "L2")}


def test_L2_as_much_is_left_as_is_to_be_kept() -> None:
    assert names([Start(8, 900, 901)], SIZE) == {("deleted too much", "L2")}
    # What came after the answer was not there to be kept.
    assert names([Start(7, 800, 850)], SIZE) == {("deleted too much", "L2")}


def test_L8_what_was_deleted_on_demand_may_go_and_stays_away() -> None:
    assert names([Start(5, 10, 11)], AGE, Cut(5, 9, None)) == set()
    assert names([Start(5, 10, 11)], AGE, Cut(5, 12, 13)) == {("deleted too young", "L2")}
    assert names([Start(4, 20, 21)], AGE, Cut(5, 9, 12)) == {("deleted records are back", "L8")}
    assert names([Start(6, 10, 11)], AGE, Cut(5, 9, 12)) == {("deleted too young", "L2")}


def test_L1_offsets_are_dense() -> None:
    assert list(gaps([], 0)) == []
    assert list(gaps([3, 4, 5], 6)) == []
    assert [anomaly.name for anomaly in gaps([3, 5], 6)] == ["gap"]
    assert [anomaly.name for anomaly in gaps([3, 4], 6)] == ["gap"]
