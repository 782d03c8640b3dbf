"""Queries that a copy answers while the owner is gone: within the bound, and never behind what was
committed (S1, S4). On the cluster in memory, at virtual time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.processing.errors import Misdirected
from flowstream.processing.queries.answers import Answers
from flowstream.processing.queries.asked import Found, Question
from flowstream.processing.stores.standing_by import StandingBy
from flowstream.processing.units.task import TaskId
from flowstream.testing.context import AppContext
from flowstream.testing.lives import STEPS, Life
from flowstream.transport.admin import Admin
from flowstream.transport.errors import TransportError
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.hashing import partition_for_key
from flowstream.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity

PARTITIONS = 2
KEYS = [f"k{number}" for number in range(6)]
LONG_S = 1e6


def counting(**settings: Any) -> fs.App:
    """An app that counts words in a table, and in one that is everywhere."""
    app = fs.App("counting", standby_replicas=1, **settings)
    words = app.topic("words", key_type=str, value_type=int, partitions=PARTITIONS)
    counts = app.Table("counts", key_type=str, default=int, partitions=PARTITIONS)
    everywhere = app.GlobalTable("everywhere", key_type=str, default=int, partitions=PARTITIONS)

    @app.agent(words)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, _ in stream.items():
            counts[key] += 1
            everywhere[key] += 1

    return app


def question(key: str, **conditions: Any) -> Question:
    row = key.encode()
    conditions = {"table": "counts", "copy": True, "timeout_s": 60.0, **conditions}
    number = partition_for_key(row, PARTITIONS)
    return Question(partition=number, start=row, stop=row + b"\0", **conditions)


class Two:
    """Two workers of the app, of which one owns a key's partition and the other has the copy."""

    def __init__(self, context: AppContext, key: str = KEYS[0]) -> None:
        self.context = context
        self.key = key
        self.gone = ""
        self.number = partition_for_key(key.encode(), PARTITIONS)

    def send(self, *, settle: bool = True) -> int:
        """One event more of the key; its offset."""
        at = self.context.topic("words").send(1, key=self.key, settle=settle)
        return cast("int", at.offset)

    @property
    def owner(self) -> Life:
        return next(life for life in self.lives if self.holds(life))

    @property
    def other(self) -> Life:
        return next(life for life in self.lives if not self.holds(life))

    def holds(self, life: Life) -> bool:
        """Whether a worker owns the key's partition: that is a matter of time, of the context's."""
        with self.context._running().entered():
            return Answers(life.worker).holds("counts", self.number)

    @property
    def lives(self) -> list[Life]:
        return self.context._crew.lives

    def ask(self, life: Life, **conditions: Any) -> Found:
        """What a worker answers."""
        rows = Answers(life.worker).rows(question(self.key, **conditions))
        return self.context._on_loop(rows)

    def value(self, life: Life, **conditions: Any) -> int:
        """The count that a worker tells."""
        return told(self.ask(life, **conditions))

    def until_copied(self) -> None:
        """Wait until the other worker's copy is kept current."""
        starter = self.other.worker._starter
        assert starter is not None
        standing_by: StandingBy = starter.standing_by

        async def current() -> None:
            while not standing_by.is_current(TaskId(PARTITIONS, self.number)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        self.context._on_loop(current())

    def kill_owner(self) -> Life:
        """Kill the owner without a word to the group; gives who has the copy."""
        other, member = self.other, self.owner.member
        assert member is not None
        self.gone = member._member_id
        freeze(self.context, self.owner)
        return other

    def take_over(self) -> None:
        """The group hears that the owner is gone."""
        gone = (MemberIdentity(member_id=self.gone),)
        request = LeaveGroupRequest(group_id=self.context.app.id, members=gone)
        self.context.broker.ask("test", ApiKey.LEAVE_GROUP, 5, request)
        self.context._crew._is_smaller = True
        self.context.settle()


def freeze(context: AppContext, life: Life) -> None:
    """Kill a worker; its group takes it for alive until its session ends."""
    context._crew.forget(life)
    context._crew._is_smaller = False
    loop = context._running()
    if loop.is_running():
        life.kill()
    else:
        with loop.entered():
            life.kill()


def told(found: Found) -> int:
    return int(found.rows[0][1]) if found.rows else 0


@contextmanager
def two(key: str = KEYS[0], **settings: Any) -> Iterator[Two]:
    with counting(**settings).test_context(workers=2) as context:
        found = Two(context, key)
        found.send()
        found.until_copied()
        found.send()
        yield found


@pytest.mark.parametrize("key", KEYS)
def test_S4_the_copy_answers_when_its_owner_is_killed(key: str) -> None:
    with two(key) as found:
        copy = found.kill_owner()
        answer = found.ask(copy, stale_s=1.0)
        assert told(answer) == 2
        assert [at for _, _, at in answer.positions] == [2]
        # Nothing waits: it is as fresh after any time.
        found.context._on_loop(asyncio.sleep(3.0))
        assert found.value(copy, stale_s=0.5) == 2


def test_an_answer_is_never_older_than_its_bound() -> None:
    with two() as found:
        copy = found.kill_owner()
        found.send(settle=False)
        assert found.value(copy, stale_s=5.0) == 2
        found.context._on_loop(asyncio.sleep(4.0))
        assert found.value(copy, stale_s=5.0) == 2
        with pytest.raises(fs.TooStale, match=r"4\.\d+ s behind its input, more than .*=3"):
            found.ask(copy, stale_s=3.0)
        found.context._on_loop(asyncio.sleep(1.5))
        with pytest.raises(fs.TooStale):
            found.ask(copy, stale_s=5.0)


def test_a_position_that_is_not_committed_is_waited_for_and_then_refused() -> None:
    with two() as found:
        copy = found.kill_owner()
        committed = ("words", found.number, 0)
        assert found.value(copy, stale_s=1.0, after=(committed,)) == 2
        after = (("words", found.number, found.send(settle=False)),)
        with pytest.raises(fs.QueryTimeout, match="nobody has committed those records yet"):
            found.ask(copy, stale_s=LONG_S, after=after, timeout_s=2.0)
        found.take_over()
        assert found.holds(copy)
        assert found.value(copy, stale_s=LONG_S, after=after) == 3


def test_without_a_bound_only_the_owner_answers() -> None:
    with two() as found:
        assert found.value(found.owner, copy=False) == 2
        copy = found.kill_owner()
        with pytest.raises(Misdirected):
            found.ask(copy, copy=False)


def test_a_worker_without_a_copy_sends_away() -> None:
    with two() as found:
        asked = question("k0", table="nothing")
        with pytest.raises(fs.AppError, match="has no table"):
            found.context._on_loop(Answers(found.other.worker).rows(asked))
        starter = found.other.worker._starter
        assert starter is not None
        found.context._on_loop(starter.standing_by.leave_all())
        with pytest.raises(Misdirected):
            found.ask(found.other, stale_s=LONG_S)


@pytest.mark.parametrize("table", ["counts", "everywhere"])
@pytest.mark.parametrize("step", STEPS)
def test_S4_an_answer_is_the_fold_of_the_input_below_its_positions(
    step: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner is killed in the middle of a commit: all of it is in an answer, or nothing."""
    with two() as found:
        copy, owner, context = found.other, found.owner, found.context
        monkeypatch.setattr(context._crew, "kill", lambda life, restart: freeze(context, life))
        context.crash_at(step, restart=False)
        offsets = [0, 1, *(found.send(settle=False) for _ in range(3))]
        context._on_loop(asyncio.sleep(0.5))
        assert owner.is_dead
        answer = found.ask(copy, table=table, stale_s=LONG_S)
        ((_, _, position),) = answer.positions
        assert told(answer) == sum(offset < position for offset in offsets)
        assert (told(answer) > 2) == (step in ("store", "done"))


def test_any_worker_answers_for_a_global_table() -> None:
    with two() as found:
        for _ in range(3):
            at = ("words", found.number, found.send(settle=False))
            for life in found.lives:
                assert found.value(life, table="everywhere", after=(at,)) == at[2] + 1
        assert found.value(found.other, table="everywhere") == 5
        assert found.value(found.other, table="everywhere", stale_s=0.0) == 5
        copy = found.kill_owner()
        at = ("words", found.number, found.send(settle=False))
        assert found.value(copy, table="everywhere") == 5, "as old as it may be"
        with pytest.raises(fs.QueryTimeout):
            found.ask(copy, table="everywhere", after=(at,), timeout_s=1.0)
        with pytest.raises(fs.TooStale):
            found.ask(copy, table="everywhere", stale_s=0.5)
        found.take_over()
        assert found.value(copy, table="everywhere", after=(at,)) == 6


def test_S10_a_worker_that_stands_by_for_a_task_that_it_had_follows_what_is_everywhere() -> None:
    with counting().test_context() as context:
        first = context._crew.lives[0]
        context.start()
        found = next(each for key in KEYS if (each := Two(context, key)).other is first)
        found.until_copied()
        found.send()
        assert found.value(first, table="everywhere") == 1


class History:
    """One key's events, what was told of them, and workers that come and go."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.context = counting().test_context(workers=3, seed=seed)
        self.sent: dict[str, list[int]] = {key: [] for key in KEYS}
        self.told: dict[tuple[str, str], int] = {}
        self.gone: list[str] = []
        self.answered = self.refused = self.copied = 0

    def act(self) -> None:
        """One thing that may happen."""
        acts = [self.send, self.send, self.ask, self.ask, self.ask, self.pass_time]
        acts += [self.kill] if len(self.context._crew.lives) > 1 and not self.gone else []
        acts += [self.notice, self.notice] if self.gone else []
        acts += [self.begin] if len(self.context._crew.lives) < 3 else []
        self.random.choice(acts)()

    def send(self) -> None:
        """An event, which may or may not be processed by the next time."""
        key = self.random.choice(KEYS)
        sent = self.context.topic("words").send(1, key=key, settle=False)
        self.sent[key].append(cast("int", sent.offset))
        self.context._on_loop(asyncio.sleep(self.random.choice((0.0, 0.001, 0.5))))

    def pass_time(self) -> None:
        """Commits, copies and restores go on."""
        self.context._on_loop(asyncio.sleep(self.random.random() * 3))

    def kill(self) -> None:
        """A worker is gone, perhaps in the middle of a commit, and its group does not know."""
        life = self.random.choice(self.context._crew.lives)
        if life.member is None or not life.member._member_id:
            return
        self.gone.append(life.member._member_id)
        freeze(self.context, life)

    def notice(self) -> None:
        """The group knows."""
        request = LeaveGroupRequest(
            group_id=self.context.app.id,
            members=(MemberIdentity(member_id=self.gone.pop()),),
        )
        self.context.broker.ask("test", ApiKey.LEAVE_GROUP, 5, request)
        self.context._crew._is_smaller = True

    def begin(self) -> None:
        """One more worker."""
        self.context._crew.begin()

    def ask(self) -> None:
        """Ask somebody; what is told is the fold of committed input, at least of what is below its
        positions (S1, S4), holds what it must, and is never behind what was told before.
        """
        key, table = self.random.choice(KEYS), self.random.choice(("counts", "everywhere"))
        life = self.random.choice(self.context._crew.lives)
        sent = self.sent[key]
        number = partition_for_key(key.encode(), PARTITIONS)
        wanted = self.random.choice(sent) if sent and self.random.random() < 0.5 else None
        after = () if wanted is None else (("words", number, wanted),)
        asked = question(key, table=table, stale_s=LONG_S, after=after, timeout_s=0.5)
        answers = Answers(life.worker)
        with self.context._running().entered():
            is_owner = answers.holds("counts", number)
        try:
            found = self.context._on_loop(answers.rows(asked))
        except (fs.QueryError, TransportError):
            self.refused += 1
            return
        ((topic, number, position),) = found.positions
        tp = TopicPartition(topic, number)
        # Its owner may have committed more between the look at the offsets and the look at rows.
        now = self.context._on_loop(Admin(self.context.cluster).committed("counting", [tp]))[tp]
        least, most = (sum(offset < end for offset in sent) for end in (position, now or 0))
        assert least <= told(found) <= most
        if is_owner:
            assert told(found) == least
        if wanted is not None:
            assert told(found) >= 1 + sent.index(wanted)
        assert told(found) >= self.told.get((key, table), 0), "an older answer after a newer one"
        self.told[key, table] = told(found)
        self.answered += 1
        self.copied += not is_owner


def test_S1_S4_no_answer_is_behind_another_whoever_gives_it() -> None:
    answered = copied = 0
    for seed in range(25):
        print(f"seed {seed}")  # shown when it fails
        history = History(seed)
        with history.context:
            for _ in range(60):
                history.act()
        answered, copied = answered + history.answered, copied + history.copied
    print(f"{answered} answers, {copied} of them by copies")
    assert copied > answered / 10 > 10


def test_a_copy_waits_for_what_a_record_led_to_through_a_repartition_topic() -> None:
    app = fs.App("regrouped", standby_replicas=1)
    lines = app.topic("lines", key_type=str, value_type=str, partitions=PARTITIONS)
    counts = app.Table("counts", key_type=str, default=int)

    @app.agent(lines)
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream.group_by(lambda word: word, name="word"):
            counts[word] += 1

    with app.test_context(workers=2) as context:
        found = Two(context, "same")
        found.until_copied()
        for number in range(1, 9):
            at = context.topic(lines).send("same", key=f"k{number}", settle=False)
            after = ((at.topic, at.partition, cast("int", at.offset)),)
            assert found.value(found.other, stale_s=LONG_S, after=after) == number
        copy = found.kill_owner()
        at = context.topic(lines).send("same", key="k1", settle=False)
        after = ((at.topic, at.partition, cast("int", at.offset)),)
        with pytest.raises(fs.QueryTimeout):
            found.ask(copy, stale_s=LONG_S, after=after, timeout_s=1.0)
        found.take_over()
        assert found.value(copy, stale_s=LONG_S, after=after) == 9
