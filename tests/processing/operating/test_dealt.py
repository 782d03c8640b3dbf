"""What is dealt with of a partition's letters, against a set of their offsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.processing.operating.dealt import Dealt, dealt_of

STEPS = st.lists(st.tuples(st.sets(st.integers(0, 40)), st.integers(1, 41)), max_size=8)


@given(letters=st.sets(st.integers(0, 40), min_size=1), steps=STEPS)
def test_S9_a_letter_is_dealt_with_once_whatever_the_order(
    letters: set[int], steps: list[tuple[set[int], int]]
) -> None:
    dealt, done = Dealt(0), set[int]()
    for wanted, looked in steps:
        seen = [each for each in sorted(letters) if dealt.position <= each < looked]
        now = {each for each in wanted if each in seen and each not in done}
        if not now:
            continue
        before, dealt = dealt, dealt.after(seen, now)
        done |= now
        assert {each for each in letters if each in dealt} == done
        assert dealt.position >= before.position
        assert dealt_of(dealt.position, dealt.note) == dealt
    if letters <= done:
        assert len(dealt.beyond) <= 8


def test_a_note_of_ours_that_says_nothing_is_refused_and_one_of_others_is_none() -> None:
    assert dealt_of(3, "by hand") == Dealt(3)
    for told in ("", "5", "5-", "5-6 7-8", "x-y", f"1-{'9' * 20}"):
        with pytest.raises(ValueError, match="says nothing"):
            dealt_of(3, f"dealt with: {told}")
