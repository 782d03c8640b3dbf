"""A share of the campaign of flipped bytes, and that it finds what is planted."""

from __future__ import annotations

import pytest

from flowstream.broker.doors import Replace
from flowstream.broker.log.checkpoints import (
    CLEAN_SHUTDOWN,
    COPY,
    encode_clean_shutdown,
    replace_guarded,
)
from flowstream.broker.log.epochs import LeaderEpochs
from flowstream.errors import FlowstreamError
from tests.crash.flips import Flip, after, judge, run
from tests.crash.populated import disk_of, opened

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


START = "log-start-offset-checkpoint"


def used_by_another(files: dict[str, bytes], start: int) -> dict[str, bytes]:
    """The directory after another program served it: that one moved the start of `cut-0`, began an
    epoch of its own and knows no copies (ours is of an older epoch).
    """
    old = files[START + COPY].partition(b"\n")[2].partition(b"\n")[2]
    stale, _ = replace_guarded(START, old, 1)
    assert isinstance(stale, Replace)
    changed = {**files, START: b"0\n1\ncut 0 %d\n" % start, START + COPY: bytes(stale.data)}
    if CLEAN_SHUTDOWN in files:
        changed[CLEAN_SHUTDOWN] = encode_clean_shutdown(10_000)
        changed[START + COPY] = files[START + COPY]
    return changed


@pytest.mark.parametrize("state", ["stopped", "killed"])
def test_L8_the_copy_of_an_older_epoch_neither_refuses_nor_moves_a_log_start_back(
    state: str,
) -> None:
    files, now = after(state)
    assert files[START] == b"0\n1\ncut 0 7\n"
    disk = disk_of(used_by_another(dict(files), 9))
    opened(disk, now)
    assert bytes(disk.read(START, 0, 100)) == b"0\n1\ncut 0 9\n"


def test_D6_the_copy_of_the_same_epoch_refuses_what_differs() -> None:
    files, now = after("stopped")
    changed = disk_of({**files, START: b"0\n1\ncut 0 9\n"})
    with pytest.raises(FlowstreamError, match=f"delete {START}"):
        opened(changed, now)


def test_D5_a_copy_newer_than_the_file_is_taken_and_outlives_the_start() -> None:
    files, now = after("killed")
    disk = disk_of({**files, START: b"0\n0\n"})
    opened(disk, now)
    assert bytes(disk.read(START, 0, 100)) == b"0\n1\ncut 0 7\n"
