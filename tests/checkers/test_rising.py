"""Committed offsets that go back are found; what only overlaps is legal."""

from __future__ import annotations

from tests.checkers.history import GroupPartition, Partition
from tests.checkers.rising import Answer, check

TARGET = GroupPartition("g", Partition("t", 0))
OTHER = GroupPartition("g", Partition("t", 1))


def names(*answers: tuple[int | None, float, float, bool]) -> list[tuple[str, str]]:
    made = [Answer(TARGET, f"c{n}", *answer) for n, answer in enumerate(answers)]
    return [(anomaly.name, anomaly.invariant) for anomaly in check(made)]


def test_rising_offsets_pass() -> None:
    assert names((None, 0, 1, False), (5, 2, 3, True), (5, 4, 5, False), (9, 6, 7, True)) == []


def test_G6_an_answer_that_knows_less_than_one_before() -> None:
    assert names((5, 0, 1, True), (3, 2, 3, False)) == [("offset went back", "G6")]
    assert names((5, 0, 1, False), (None, 2, 3, False)) == [("offset went back", "G6")]
    # Also behind one that saw nothing wrong, and whatever the order of the notes.
    assert names((3, 4, 5, False), (4, 2, 3, False), (5, 0, 1, True)) == [
        ("offset went back", "G6"),
        ("offset went back", "G6"),
    ]


def test_G4_a_commit_of_one_who_owns_no_more() -> None:
    assert names((5, 0, 1, True), (3, 2, 3, True)) == [("commit went back", "G6")]


def test_what_overlaps_may_be_in_either_order() -> None:
    assert names((5, 0, 3, True), (3, 1, 2, True), (5, 4, 5, False)) == []
    assert names((5, 0, 3, True), (3, 3, 4, False)) == []


def test_partitions_are_apart() -> None:
    one, other = Answer(TARGET, "a", 5, 0, 1), Answer(OTHER, "b", 3, 2, 3)
    assert check([one, other]) == []
