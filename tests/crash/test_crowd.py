"""The crowd's own verdicts: each neighbour finds a violation that was planted in what it saw."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Offset

from flowstream.broker.log import checkpoints
from flowstream.broker.types import TopicPartition
from tests.checkers.compacted import View
from tests.checkers.history import Drained, End, Outcome, Partition, Poll, Send
from tests.checkers.retained import Bounds, Cut, Start
from tests.checkers.rising import Answer
from tests.crash.crowd import clients, lives
from tests.crash.crowd.clients import BOUND_S, Record, Refused, Sender, Stalled, insist
from tests.crash.crowd.crowd import LONG, Cleanings, Crowd
from tests.crash.crowd.groups import Group, Member
from tests.crash.crowd.lives import Life
from tests.crash.crowd.neighbour import Neighbour, Role
from tests.crash.crowd.river import River
from tests.crash.crowd.table import TOPIC, Table

OK = Outcome.OK
NOBODY = "nobody:1"


def names(neighbour: Neighbour) -> set[tuple[str, str]]:
    return {(anomaly.name, anomaly.invariant) for anomaly in neighbour.anomalies}


# A compacted topic


def written_table() -> Table:
    """Two keys in partition 0, the second one's newer record aborted."""
    table = Table(NOBODY)
    where = Partition(TOPIC, 0)
    table.keys = {"v0": ("a", False), "v1": ("b", False), "v2": ("b", False), "v3": ("a", True)}
    table.history = [
        Send("s", where, "v0", OK, 0),
        Send("s", where, "v1", OK, 1),
        Send("t", where, "v2", OK, 2, "t/1"),
        End("t/1", commit=False, outcome=OK),
        Send("s", Partition(TOPIC, 1), "v3", OK, 0),
    ]
    return table


def judged(table: Table, *seen: tuple[int, str, str | None]) -> set[tuple[str, str]]:
    table.views[0].append(View("reader", seen, committed_only=True, drained=True))
    table.judge(0)
    return names(table)


def test_L7_C1_a_lost_row_is_found() -> None:
    assert judged(written_table(), (0, "a", "v0"), (1, "b", "v1")) == set()
    assert judged(written_table(), (0, "a", "v0")) == {("lost value", "L7")}
    assert judged(written_table(), (1, "b", "v1")) == {("skip", "C1"), ("lost value", "L7")}


def test_T8_an_aborted_row_is_found() -> None:
    seen = ((0, "a", "v0"), (2, "b", "v2"))
    assert ("aborted read", "T8") in judged(written_table(), *seen)


def test_L1_a_row_that_changed_since_the_last_round_is_found() -> None:
    table = written_table()
    assert judged(table, (0, "a", "v0"), (1, "b", "v1"), (4, "c", None)) == set()
    assert judged(table, (0, "a", "v0"), (1, "b", "v1"), (4, "a", "v0")) >= {
        ("inconsistent offset", "L1")
    }


# Topics that forget


def flown(bounds: Bounds) -> River:
    """Ten records of 100 bytes, a second apart."""
    river = River(NOBODY, "river", bounds, size=95, cuts=True)
    for n in range(10):
        river.sent_at[f"v{n:04}"] = 1000 * n
        river.history.append(Send("s", river.where, f"v{n:04}", OK, n))
    return river


def left(river: River, start: int, *, without: int | None = None) -> set[tuple[str, str]]:
    """The verdict on a log that begins at `start` ten seconds after the first record."""
    river.starts.append(Start(start, 10_000, 10_000))
    records = [Record(n, "", f"v{n:04}") for n in range(start, 10) if n != without]
    river.judge(records, records, start, 10)
    return names(river)


def test_L2_what_is_deleted_too_early_is_found() -> None:
    assert left(flown(Bounds(ms=5000)), 5) == set()
    assert left(flown(Bounds(ms=5000)), 6) == {("deleted too young", "L2")}
    assert left(flown(Bounds(bytes=1000)), 4) == set()
    assert left(flown(Bounds(bytes=1000)), 5) == {("deleted too much", "L2")}


def test_L2_L1_a_hole_is_found() -> None:
    assert left(flown(Bounds(ms=5000)), 3, without=7) >= {("gap", "L1"), ("lost write", "L2")}
    assert ("unseen", "L2") in left(flown(Bounds(ms=5000)), 3, without=9)


def test_L8_a_log_start_that_goes_back_is_found() -> None:
    river = flown(Bounds(ms=1000))
    river.starts.append(Start(5, 9000, 9000))
    assert left(river, 4) == {("log start went back", "L8")}
    river = flown(Bounds(ms=1000))
    river.cuts.append(Cut(5, 9000, 9001))
    assert left(river, 4) == {("deleted records are back", "L8")}


def test_a_round_forgets_what_is_gone_and_compares_the_rest() -> None:
    river = flown(Bounds(ms=5000))
    assert left(river, 5) == set()
    river._forget(5)
    assert sorted(river.sent_at) == [f"v{n:04}" for n in range(5, 10)]
    assert left(river, 4) >= {("log start went back", "L8")}


# Topics that are deleted


def lived(*offsets: int, seen: str = "lives:1:plain:", markers: int = 0) -> set[tuple[str, str]]:
    """A life whose reader found what was sent, or other values at the same offsets."""
    life = Life(NOBODY, "lives", 1, random.Random(1), markers=markers)
    where = Partition("lives", 0)
    life.history += [Send("s", where, f"lives:1:plain:{n}", OK, n) for n in offsets]
    life.history.append(Poll("r", where, tuple((n, f"{seen}{n}") for n in offsets)))
    life.history.append(Drained("r", where))
    return {(anomaly.name, anomaly.invariant) for anomaly in life.judge()}


def test_L1_records_of_a_former_life_are_found() -> None:
    assert lived(0, 1) == set()
    assert ("phantom", "L1") in lived(0, 1, seen="lives:0:plain:")


def test_L1_a_life_whose_offsets_go_on_is_found() -> None:
    assert lived(1, 2) == {("offsets go on", "L1")}
    assert lived(1, 2, markers=1) == set()
    assert lived(2, 3, markers=1) == set(), "a marker comes again when the broker dies in between"
    assert lived(20, 21, markers=1) == {("offsets go on", "L1")}


def test_G7_what_was_refused_is_offered_again() -> None:
    group = Group(NOBODY, "cooperative")
    member = Member(group, NOBODY, "m", {})
    member._next = {0: 5, 1: 7}

    def refused(**_: object) -> None:
        raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))

    consumer = SimpleNamespace(commit=refused)
    member._commit(consumer)
    assert member._next == {0: 5, 1: 7}
    member._revoked(consumer, [Offset("t", 0)])
    assert member._next == {1: 7}, "it is another's now"
    consumer.commit = lambda offsets, **_: offsets
    member._commit(consumer)
    assert member._next == {}
    assert [(each.target.partition.partition, each.offset) for each in group.answers] == [(1, 7)]


def test_L8_a_topic_that_is_there_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbour = lives.Lives(NOBODY, "lives")
    monkeypatch.setattr(lives, "insist", lambda ask: SimpleNamespace(topics={"lives": None}))
    neighbour.settle(random.Random(1))
    assert names(neighbour) == {("deleted topic is there", "L8")}


# Groups


def test_G6_S11_what_goes_back_or_is_passed_over_is_found() -> None:
    group = Group(NOBODY, "consumer")
    target = group.target(0)
    group.history = [Send("s", target.partition, f"v{n}", OK, n) for n in range(3)]
    group.answers = [Answer(target, "a", 3, 0, 1, True), Answer(target, "b", 2, 2, 3, True)]
    group.seen = {(0, 0), (0, 2)}
    group.judge({0: 3, 1: 0, 2: 0, 3: 0})
    assert names(group) == {("commit went back", "G6"), ("passed over", "S11")}


def test_G6_an_offset_is_compared_with_the_round_before() -> None:
    group = Group(NOBODY, "eager")
    group.answers = [Answer(group.target(0), "a", 3, 0, 1, True)]
    group.judge(dict.fromkeys(range(4), 3))
    assert names(group) == set()
    group.answers.append(Answer(group.target(0), "b", None, 2, 3))
    group.judge(dict.fromkeys(range(4), 3))
    assert names(group) == {("offset went back", "G6")}


# All of them


class Once(Neighbour):
    """A neighbour with one role."""

    expected = ("works",)

    def __init__(self, role: Role) -> None:
        super().__init__(NOBODY)
        self._role = role

    def roles(self) -> dict[str, Role]:
        return {"role": self._role}

    def settle(self, rng: random.Random) -> None:
        self.counts["settled"] += 1


async def rounds_of(role: Role) -> tuple[Crowd, Once]:
    """A crowd of one, after a round."""
    once = Once(role)
    crowd = Crowd({"once": once}, random.Random(1))
    crowd.begin()
    await crowd.end()
    return crowd, once


def raising(error: Exception) -> Role:
    def role(stop: threading.Event, rng: random.Random) -> None:
        raise error

    return role


async def test_V1_P1_what_stops_a_neighbour_is_a_violation() -> None:
    for error, invariant in ((Stalled("for ever"), "V1"), (Refused("no reason"), "P1")):
        crowd, once = await rounds_of(raising(error))
        found = crowd.take_anomalies()
        assert [(each.invariant, each.evidence) for each in found] == [(invariant, str(error))]
        assert once.counts["settled"] == 0
        assert crowd.take_anomalies() == []


def test_V1_bounds_count_from_when_nothing_dies_any_more() -> None:
    now = [0.0]
    calm = clients.Calm(lambda: now[0])
    now[0] = 1000.0
    assert not calm.is_over(began=0.0)
    calm.begin()
    now[0] = 1000.0 + BOUND_S
    assert not calm.is_over(began=0.0)
    now[0] += 1
    assert calm.is_over(began=0.0)
    assert not calm.is_over(began=1001.0)
    calm.end()
    assert not calm.is_over(began=0.0)


def test_V1_what_never_comes_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.CALM, "since", -1000.0)
    monkeypatch.setattr(clients, "BOUND_S", -1.0)

    def refuse() -> object:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    with pytest.raises(Stalled, match="after -1 s"):
        insist(refuse)
    insist(refuse, KafkaError._TRANSPORT)


async def test_an_error_of_a_neighbours_own_ends_the_campaign() -> None:
    with pytest.raises(ZeroDivisionError):
        await rounds_of(raising(ZeroDivisionError()))


async def test_a_crowd_that_did_nothing_shows_nothing() -> None:
    def wait(stop: threading.Event, rng: random.Random) -> None:
        stop.wait()

    crowd, once = await rounds_of(wait)
    assert once.counts["settled"] == 1
    crowd.check_happened(LONG - 1)
    assert crowd.take_anomalies() == []
    crowd.check_happened(LONG)
    assert [each.evidence for each in crowd.take_anomalies()] == [f"once: no works in {LONG} kills"]
    once.counts["works"] += 1
    crowd.check_happened(LONG)
    assert crowd.take_anomalies() == []
    assert crowd.report() == "  once: 1 settled, 1 works"


def test_compactions_are_counted_as_they_come(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    file = tmp_path / "broker" / checkpoints.CLEANER
    cleanings = Cleanings(tmp_path)
    cleanings.look()
    for end in (5, 5, 7):
        ends = {TopicPartition(TOPIC, 0): end, TopicPartition("__consumer_offsets", 1): 3}
        file.write_bytes(checkpoints.encode_offsets(ends))
        cleanings.look()
    assert cleanings.counts == {"of the table": 2, "of the broker's topics": 1}


def test_what_a_killed_broker_left_unfinished_is_counted(tmp_path: Path) -> None:
    cleanings = Cleanings(tmp_path)
    cleanings.struck()
    (tmp_path / "broker" / "t-0").mkdir(parents=True)
    (tmp_path / "broker" / "t-0" / "00000000000000000000.log.cleaned").touch()
    (tmp_path / "broker" / "0123-0-delete").mkdir()
    cleanings.struck()
    found = {what: count for what, count in cleanings.counts.items() if count}
    assert found == {"killed while cleaning": 1, "killed in a deletion": 1}


def test_what_has_no_answer_may_have_happened() -> None:
    sender = Sender(NOBODY, "s", [])
    sender.send(Partition("t", 0), "v")
    sender.close()
    assert sender.history == [Send("s", Partition("t", 0), "v", Outcome.UNKNOWN)]
    sender.producer.purge()


def test_P1_a_session_that_is_ended_is_a_violation() -> None:
    sender = Sender(NOBODY, "s", [])
    sender.send(Partition("t", 0), "v")
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "out of order", True)
    sender._delivered("v", fatal, SimpleNamespace(offset=lambda: -1001))
    sender.producer.purge()
    with pytest.raises(Refused, match="out of order"):
        sender.send(Partition("t", 0), "w")


def test_P1_a_session_is_ended_also_before_its_answers_are_looked_at() -> None:
    def ended(*_: object, **__: object) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "Unable to produce message"))

    def interrupted(*_: object) -> None:
        out_of_order = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "out of order", True)
        raise SystemError("returned a result with an exception set") from KafkaException(
            out_of_order
        )

    def another(*_: object) -> None:
        raise SystemError("another")

    sender = Sender(NOBODY, "s", [])
    sender.producer = SimpleNamespace(produce=ended)
    with pytest.raises(Refused, match="Unable to produce"):
        sender.send(Partition("t", 0), "v")
    sender = Sender(NOBODY, "s", [])
    sender.producer = SimpleNamespace(flush=interrupted)
    with pytest.raises(Refused, match="out of order"):
        sender.settle()
    sender.producer = SimpleNamespace(flush=another)
    sender.refused = None
    with pytest.raises(SystemError, match="another"):
        sender.settle()


def test_P1_a_duplicate_without_an_offset_may_be_gone_by_now() -> None:
    sender = Sender(NOBODY, "s", [])
    sender._pending = {v: Send("s", Partition("t", 0), v, Outcome.UNKNOWN) for v in "vwx"}
    # The client counts on from the -1 of the batch.
    for value, offset in (("v", -1001), ("w", 0), ("x", 7)):
        sender._delivered(value, None, SimpleNamespace(offset=lambda offset=offset: offset))
    assert sender.history == [
        Send("s", Partition("t", 0), "v", Outcome.UNKNOWN),
        Send("s", Partition("t", 0), "w", Outcome.UNKNOWN),
        Send("s", Partition("t", 0), "x", Outcome.OK, 7),
    ]


async def test_threads_end_before_the_round_does() -> None:
    seen: list[str] = []

    def role(stop: threading.Event, rng: random.Random) -> None:
        stop.wait()
        seen.append("ended")

    crowd, _ = await rounds_of(role)
    assert seen == ["ended"]
    assert crowd._working == []
    await asyncio.sleep(0)
