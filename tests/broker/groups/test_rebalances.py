"""Random lives of a group, step by step: G4, G5, G7 and the promise that every join is answered."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowstream.broker.groups.room import weigh_identity
from flowstream.broker.groups.states import State
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.story import REBALANCE_MS, SESSION_MS, Groups

PARTITIONS = 4
CLIENTS = 4


class Client:
    """A consumer that follows the protocol, as far as the rules let it act."""

    def __init__(self, instance: str | None) -> None:
        self.instance = instance
        self.member_id = ""
        self.generation = -1
        self.join: int | None = None
        self.sync: int | None = None
        self.asked_at = 0
        self.roster: list[str] = []
        self.leads = False
        self.called = False
        """A heartbeat or sync said that it must join again."""
        self.owned: set[int] | None = None
        """What it was given in `generation`; None before it knows."""

    def forget(self) -> None:
        """Start over; only its instance id is left."""
        self.__init__(self.instance)  # type: ignore[misc]

    @property
    def is_busy(self) -> bool:
        return self.join is not None or self.sync is not None


def share(roster: list[str]) -> dict[str, bytes]:
    """Every partition to one member."""
    shares: dict[str, bytes] = dict.fromkeys(roster, b"")
    for partition in range(PARTITIONS):
        shares[roster[partition % len(roster)]] += bytes([partition])
    return shares


class Rebalances(RuleBasedStateMachine):
    """Clients join, sync, beat, commit, leave, vanish; the broker restarts; time passes."""

    @initialize(delay=st.sampled_from([0, 0, 1000]), static=st.booleans())
    def begin(self, delay: int, static: bool) -> None:
        self.groups = Groups(group_initial_rebalance_delay_ms=delay)
        self.clients = [Client("static" if static and n == 0 else None) for n in range(CLIENTS)]
        self.generation = 0
        self.shared = 0
        self.owners: dict[tuple[int, int], str] = {}

    # Answers.

    def hear(self) -> None:
        """Hand answers to those who wait; check what they say."""
        for client in self.clients:
            if client.join is not None and client.join in self.groups.answers:
                asked, client.join = client.join, None
                self.joined(client, self.groups.answers.pop(asked))
            if client.sync is not None and client.sync in self.groups.answers:
                asked, client.sync = client.sync, None
                self.synced(client, self.groups.answers.pop(asked))

    def joined(self, client: Client, answer: Any) -> None:
        error = ErrorCode(answer.error_code)
        if error is ErrorCode.MEMBER_ID_REQUIRED:
            client.member_id = answer.member_id
        elif error:
            assert error in (
                ErrorCode.UNKNOWN_MEMBER_ID,
                ErrorCode.FENCED_INSTANCE_ID,
                ErrorCode.REBALANCE_IN_PROGRESS,
            )
            client.forget()
        else:
            # G5: generations grow. One that a crash cut off before its assignment was durable is
            # begun anew, as in Kafka: nobody had a share in it.
            assert answer.generation_id >= self.generation
            self.generation = answer.generation_id
            if answer.generation_id != client.generation:
                client.owned = None
            client.member_id, client.generation = answer.member_id, answer.generation_id
            client.called = False
            client.leads = answer.leader == client.member_id and not answer.skip_assignment
            client.roster = [each.member_id for each in answer.members]

    def synced(self, client: Client, answer: Any) -> None:
        error = ErrorCode(answer.error_code)
        if error in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
            client.forget()
        elif error:
            client.called = True
        else:
            assert client.generation >= self.shared, "G5, also across crashes of the broker"
            self.shared = client.generation
            client.owned = set(answer.assignment)
            for partition in client.owned:
                # G4: one owner per partition and generation, also across crashes of the broker.
                key = (client.generation, partition)
                place = client.instance or client.member_id
                assert self.owners.setdefault(key, place) == place

    # What clients do.

    clients_ = st.integers(0, CLIENTS - 1)

    @rule(number=clients_)
    def join(self, number: int) -> None:
        client = self.clients[number]
        if client.is_busy:
            return
        client.asked_at = self.groups.now
        client.join = self.groups.join(client.member_id, instance=client.instance)
        self.hear()

    @rule(number=clients_)
    def sync(self, number: int) -> None:
        client = self.clients[number]
        if client.is_busy or client.generation < 0:
            return
        shares = share(client.roster) if client.leads and client.roster else {}
        client.sync = self.groups.sync(
            client.member_id, client.generation, shares, instance=client.instance
        )
        self.hear()

    @rule(number=clients_)
    def beat(self, number: int) -> None:
        client = self.clients[number]
        if client.is_busy or client.generation < 0:
            return
        error = self.groups.heartbeat(client.member_id, client.generation, instance=client.instance)
        client.called = error is ErrorCode.REBALANCE_IN_PROGRESS
        if error in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
            client.forget()

    @rule(numbers=st.lists(clients_, min_size=1, max_size=12))
    def follow(self, numbers: list[int]) -> None:
        """Some clients do what the protocol wants of them next, in some order."""
        for number in numbers:
            client = self.clients[number]
            if client.generation < 0 or client.called:
                self.join(number)
            elif client.owned is None:
                self.sync(number)
            else:
                self.beat(number)

    @rule(number=clients_, partition=st.integers(0, PARTITIONS - 1))
    def commit_in_a_transaction(self, number: int, partition: int) -> None:
        """Only who owns a partition in the current generation can commit for it (G4)."""
        client = self.clients[number]
        if client.owned is None or partition not in client.owned:
            return
        error = self.groups.commit_in_transaction(
            1, 7, client.member_id, client.generation, instance=client.instance
        )
        if not error:
            assert client.generation == self.groups.group().generation
            assert client.member_id in self.groups.group().members
            others = [
                each
                for each in self.clients
                if each is not client
                and each.owned
                and partition in each.owned
                and each.generation == client.generation
            ]
            assert not others

    @rule(number=clients_)
    def leave(self, number: int) -> None:
        client = self.clients[number]
        if client.is_busy or not client.member_id:
            return
        self.groups.leave((client.member_id, client.instance))
        client.forget()
        self.hear()

    @rule(number=clients_)
    def vanish(self, number: int) -> None:
        """A client dies: nobody reads its answers."""
        self.clients[number].forget()

    @rule(milliseconds=st.sampled_from([1, 1000, SESSION_MS // 2, SESSION_MS, REBALANCE_MS]))
    def wait(self, milliseconds: int) -> None:
        until = self.groups.now + milliseconds
        while self.groups.now < until:
            due = self.groups.core.deadline()
            step = until if due is None else min(max(due, self.groups.now + 1), until)
            self.groups.wait(step - self.groups.now)
            self.hear()

    @rule()
    def restart(self) -> None:
        """The broker crashes: connections are gone, so nobody waits any longer."""
        self.replay_is_the_live_state()
        self.groups.restart()
        self.groups.answers.clear()
        for client in self.clients:
            client.join = client.sync = None
            client.owned = None
            if client.generation < 0:
                client.member_id = ""
        self.generation = self.shared

    # What must hold.

    @invariant()
    @precondition(lambda self: hasattr(self, "groups"))
    def every_join_is_answered_within_the_rebalance_timeout(self) -> None:
        for client in self.clients:
            if client.join is not None:
                assert self.groups.now - client.asked_at <= REBALANCE_MS

    @invariant()
    @precondition(lambda self: hasattr(self, "groups"))
    def the_group_is_consistent(self) -> None:
        group = self.groups.core.groups.get("g")
        if group is None:
            return
        waiting = [each for each in group.members.values() if each.awaiting_join is not None]
        assert group.joins_waiting == len(waiting)
        pending = sum(weigh_identity(each) for each in group.pending_joins)
        assert group.weight == pending + sum(each.weight for each in group.members.values())
        assert (group.leader is None) == (not group.members)
        assert group.leader is None or group.leader in group.members
        assert group.pending_syncs <= set(group.members)
        assert not group.pending_joins & set(group.members)
        assert all(group.members[each].instance_id for each in group.static_members.values())
        if group.state in (State.STABLE, State.COMPLETING_REBALANCE):
            assert group.members
            assert not waiting
        if group.state is State.EMPTY:
            assert not group.members
        if group.state is not State.COMPLETING_REBALANCE:
            assert all(each.awaiting_sync is None for each in group.members.values())
        for each in group.members.values():
            alive = ("session", each.member_id) in group.timers
            assert alive or each.awaiting_join or each.awaiting_sync

    def replay_is_the_live_state(self) -> None:
        assert self.groups.replayed().durable() == self.groups.core.durable()

    def teardown(self) -> None:
        """G7: left alone with one live member, every partition is owned within a bound."""
        if not hasattr(self, "groups"):
            return
        self.replay_is_the_live_state()
        for client in self.clients:
            client.forget()
        until = self.groups.now + 2 * (REBALANCE_MS + SESSION_MS)
        while self.clients[-1].owned != set(range(PARTITIONS)):
            assert self.groups.now <= until, "one live member must own everything"
            self.follow([CLIENTS - 1] * 3)
            self.wait(1000)


TestRebalances = Rebalances.TestCase
TestRebalances.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
