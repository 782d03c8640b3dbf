"""A share of the campaign of flipped bytes, and that it finds what is planted."""

from __future__ import annotations

import pytest

from flowstream.broker.log.epochs import LeaderEpochs
from tests.crash.flips import Flip, after, judge, run

FLIPS = 300


def test_D6_no_flipped_byte_is_read_silently_wrong() -> None:
    outcomes, violations = run(FLIPS, seed=1)
    print(f"{len(violations)} violations in {FLIPS} flips: {dict(outcomes)}")
    assert violations == []
    assert sum(count for line, count in outcomes.items() if line.endswith("refused")) > FLIPS / 5


@pytest.mark.parametrize("state", ["stopped", "killed"])
def test_D6_every_byte_of_the_small_files_of_a_directory(state: str) -> None:
    files, _ = after(state)
    names = [path for path in files if "/" not in path and "journal" not in path]
    assert "log-start-offset-checkpoint" in names
    found = [
        str(flip) + verdict
        for path in names
        for position in range(len(files[path]))
        for flip in [Flip(state, path, position, 1)]
        if (verdict := judge(flip)).startswith("!")
    ]
    assert found == []


def test_D6_a_planted_weakness_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    flip = Flip("stopped", "plain-0/00000000000000000000.log", 15, 1)
    assert judge(flip) == "refused"
    monkeypatch.setattr(LeaderEpochs, "fits", lambda *_: True)
    assert judge(flip).startswith("! read silently wrong: plain-0")
