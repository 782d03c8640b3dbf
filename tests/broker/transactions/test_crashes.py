"""Transactions through a whole node that crashes between any two syncs, whatever files it keeps."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest

from flowstream.broker.log.partition import Accepted
from flowstream.broker.storage.memory import Crashed
from flowstream.broker.types import TopicPartition
from tests.broker.machine import Machine, batch, end_txn, produce
from tests.broker.transactions.test_life import A0, machine


def crash_points(run: Any) -> int:
    """How many disk operations a life of `run` has after its preparation."""
    made, go = run(1)
    before = made.storage.operations
    go()
    return int(made.storage.operations - before)


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("fsync", [True, False])
def test_T7_T9_a_crash_at_any_disk_operation_leaves_the_transaction_whole(
    commit: bool, fsync: bool
) -> None:
    def prepared(seed: int) -> tuple[Machine, Any]:
        made = machine(seed, fsync=fsync)
        begun = made.init()
        pid, epoch = begun.producer_id, begun.producer_epoch
        for topic in ("a", "b"):
            made.produce(topic, 1, batch(b"1", pid=pid, epoch=epoch, sequence=0), name="t")
        return made, lambda: made.end(pid, epoch, commit=commit)

    outcomes = set()
    for point in range(crash_points(prepared) + 1):
        for seed in range(3):
            made, end = prepared(seed)
            made.storage.crash_at(made.storage.operations + point)
            try:
                acknowledged = end().error_code == 0
            except Crashed:
                acknowledged = False
            made.crash()
            state = made.cores.transactions.transactions["t"]
            made.wait(60_000)  # what was not decided times out
            seen = (tuple(made.read("a", 1)), tuple(made.read("b", 1)))
            assert seen in (((), ()), ((b"1",), (b"1",))), (point, seed, state)
            if acknowledged:
                assert bool(seen[0]) == commit
            outcomes.add(seen)
            for name in ("a", "b"):
                log = made.cores.logs.by_name[TopicPartition(name, 1)]
                assert log.open_transactions == {}
    assert outcomes == ({((), ()), ((b"1",), (b"1",))} if commit else {((), ())})


@pytest.mark.parametrize("commit", [True, False])
def test_T7_T9_whichever_files_a_crash_keeps_the_transaction_is_whole(commit: bool) -> None:
    """At every moment of an EndTxn: any of the files written since the last sync may have reached
    the disk in full, the others not at all."""

    def reached(steps: int) -> tuple[Machine, int]:
        made = machine()
        begun = made.init()
        pid, epoch = begun.producer_id, begun.producer_epoch
        for topic in ("a", "b"):
            made.produce(topic, 1, batch(b"1", pid=pid, epoch=epoch, sequence=0), name="t")
        asked = made.post(end_txn(pid, epoch, commit=commit), 5)
        for _ in range(steps):
            made.settle_once()
        return made, asked

    tried = 0
    for steps in range(4):
        written = sorted(reached(steps)[0].unsynced)
        for kept in chain.from_iterable(
            combinations(written, count) for count in range(len(written) + 1)
        ):
            made, asked = reached(steps)
            acknowledged = asked in made.replies
            made.storage.sync(kept)
            lose_the_rest(made)
            made.wait(60_000)
            seen = (made.read("a", 1), made.read("b", 1))
            assert seen in (([], []), ([b"1"], [b"1"])), (steps, kept)
            assert not acknowledged or bool(seen[0]) == commit
            tried += 1
    assert tried >= 8


def test_a_crash_that_loses_the_joining_but_not_the_data_keeps_a_retry_true() -> None:
    """The batch was not acknowledged, so its producer sends it again: it must end up in the
    transaction. A v1 producer cannot get here: its joining was acknowledged before."""
    made = machine()
    begun = made.init()
    pid, epoch = begun.producer_id, begun.producer_epoch
    sent = batch(b"1", pid=pid, epoch=epoch, sequence=0)
    made.post(produce("a", 0, sent, name="t"), 12)
    made.storage.sync([path_of("a-0")])
    lose_the_rest(made)
    assert made.cores.logs.by_name[A0].open_transactions == {pid: (epoch, 0)}
    assert A0 in made.cores.transactions.transactions["t"].partitions
    again = made.produce("a", 0, sent, name="t")
    assert (again.error_code, again.base_offset) == (0, 0)
    assert made.end(pid, epoch).error_code == 0
    assert made.read("a") == [b"1"]


def test_T10_data_that_a_lost_joining_left_behind_is_aborted_when_nobody_comes_back() -> None:
    made = machine()
    begun = made.init()
    sent = batch(b"1", pid=begun.producer_id, epoch=begun.producer_epoch, sequence=0)
    made.post(produce("a", 0, sent, name="t"), 12)
    made.storage.sync([path_of("a-0")])
    lose_the_rest(made)
    made.wait(60_000)
    assert made.cores.logs.by_name[A0].open_transactions == {}
    assert made.read("a") == []


def test_T10_data_of_a_transaction_that_nobody_knows_is_aborted_at_the_start() -> None:
    made = machine()
    log = made.cores.logs.by_name[A0]
    sent = batch(b"1", pid=77, epoch=3, sequence=0)
    admitted = log.admit(memoryview(bytearray(sent)), made.now)
    assert isinstance(admitted, Accepted)
    made.carry_out(log.append(admitted, made.now).effects)
    made.settle()
    assert log.open_transactions
    made.crash()
    assert made.cores.logs.by_name[A0].open_transactions == {}
    assert made.read("a") == []


def test_a_restart_before_complete_is_durable_spares_the_next_transaction() -> None:
    """v2: the first marker and the next transaction share the bumped epoch. Writing the marker
    again after a crash must not end that one (KIP-1228)."""
    made = machine()
    begun = made.init()
    pid, epoch = begun.producer_id, begun.producer_epoch
    made.produce("a", 0, batch(b"1", pid=pid, epoch=epoch, sequence=0), name="t")
    asked = made.post(end_txn(pid, epoch), 5)
    while asked not in made.replies:
        assert made.settle_once()
    # COMPLETE is written but not synced when the client goes on.
    epoch = made.answer(asked).producer_epoch
    made.post(produce("a", 0, batch(b"2", pid=pid, epoch=epoch, sequence=0), name="t"), 12)
    made.storage.sync([path_of("a-0")])
    lose_the_rest(made)
    log = made.cores.logs.by_name[A0]
    assert log.open_transactions == {pid: (epoch, 2)}
    assert made.read("a") == [b"1"]
    made.wait(60_000)
    assert log.open_transactions == {}
    assert made.read("a") == [b"1"]


def path_of(directory: str) -> str:
    return f"{directory}/00000000000000000000.log"


def lose_the_rest(made: Machine) -> None:
    """Start again on exactly what is synced."""
    made.replies.clear()
    made.storage.crash(Nothing())
    made.open()


class Nothing:
    """Randomness that keeps no byte that was not synced."""

    def randrange(self, start: int, stop: int, /) -> int:
        return start

    def randbytes(self, n: int, /) -> bytes:
        return bytes(n)
