"""Random transactions, aborted data, tombstones and segment sizes; cleanings; the same view before
and after, after a restart and after a crash at every operation.
"""

from __future__ import annotations

import pytest

from flowstream.broker.storage.memory import Crashed
from tests.broker.log.compacted import Compacted


@pytest.mark.parametrize("seed", range(16))
def test_C1_L7_a_reader_sees_the_same_before_and_after_cleaning(seed: int) -> None:
    log = Compacted(seed)
    for _ in range(6):
        log.live(60)
        log.check()
        keys = log.rng.choice([2, 3, 1000])
        log.clean_all(keys)
        log.check()
        log.check_clean()
    assert log.cleanings > 3


@pytest.mark.parametrize("seed", range(100, 110))
def test_P3_producers_are_the_same_after_cleaning_and_recovery(seed: int) -> None:
    log = Compacted(seed)
    for turn in range(5):
        log.live(60)
        log.clean()
        before = log.producers()
        log.recover(clean=turn % 2 == 0)
        assert log.producers() == before
        log.check()


@pytest.mark.parametrize("seed", range(200, 202))
def test_D5_a_crash_at_every_operation_of_a_cleaning_loses_no_record(seed: int) -> None:
    def prepared() -> Compacted:
        log = Compacted(seed)
        log.slices = [2000]
        log.live(30)
        log.clean()
        log.live(30)
        return log

    log = prepared()
    first = log.storage.operations
    assert log.clean()
    total = log.storage.operations
    assert total - first > 20
    for operation in range(first, total):
        log = prepared()
        log.storage.crash_at(operation)
        try:
            with pytest.raises(Crashed):
                log.clean()
            log.storage.crash(log.rng)
            log.recover()
            log.check()
            log.live(10)
            log.clean()
            log.check()
        except BaseException as error:
            error.add_note(f"seed {seed}, crash at operation {operation} of {first}..{total}")
            raise
