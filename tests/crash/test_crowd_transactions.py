"""What the crowd writes down of a transaction's end, whatever its client says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.checkers.history import End, Operation, Outcome
from tests.crash.crowd import transactions
from tests.crash.crowd.transactions import Transactional

FENCED = KafkaError(KafkaError._FENCED, "fenced", True)
AGAIN = KafkaError(KafkaError._TIMED_OUT, "again", False, True)
ABORT = KafkaError(KafkaError._INCONSISTENT, "abort", False, False, True)


class Client:
    """A producer that answers the end of a transaction from a script."""

    def __init__(self, *script: KafkaError) -> None:
        self.script = list(script)
        self.asked: list[str] = []

    def begin_transaction(self) -> None:
        self.asked.append("begin")

    def commit_transaction(self, timeout: float) -> None:
        self._answer("commit")

    def abort_transaction(self, timeout: float) -> None:
        self._answer("abort")

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.script:
            raise KafkaException(self.script.pop(0))


class Scripted:
    """A sender around such a producer."""

    def __init__(self, producer: Client) -> None:
        self.producer = producer

    def settle(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is unknown."""


def ends(history: list[Operation]) -> list[tuple[bool, Outcome]]:
    return [(each.commit, each.outcome) for each in history if isinstance(each, End)]


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Client]]:
    """The clients that come one after the other."""
    waiting: list[Client] = []
    monkeypatch.setattr(Transactional, "_start", lambda self: Scripted(waiting.pop(0)))
    monkeypatch.setattr(transactions, "RETRY_S", 0.0)
    yield waiting
    assert waiting == []


def test_T3_an_end_is_known_only_when_it_was_answered(clients: list[Client]) -> None:
    client = Client(AGAIN)
    clients.append(client)
    history: list[Operation] = []
    writer = Transactional("nobody:1", "t", history)
    assert writer.run(lambda *_: None, commit=True)
    assert not writer.run(lambda *_: None, commit=False)
    assert client.asked == ["begin", "commit", "commit", "begin", "abort"]
    assert ends(history) == [(True, Outcome.OK), (False, Outcome.OK)]


def test_T3_a_commit_that_failed_may_have_happened(clients: list[Client]) -> None:
    client, second = Client(ABORT), Client()
    clients += [client]
    history: list[Operation] = []
    writer = Transactional("nobody:1", "t", history)
    assert not writer.run(lambda *_: None, commit=True)
    assert client.asked == ["begin", "commit", "abort"]
    client.script = [FENCED]
    assert not writer.run(lambda *_: None, commit=True)
    clients += [second]
    assert writer.run(lambda *_: None, commit=True)
    assert second.asked == ["begin", "commit"]
    assert ends(history) == [(True, Outcome.UNKNOWN)] * 2 + [(True, Outcome.OK)]
    assert writer.fenced == 1


def test_T8_what_nobody_committed_is_never_seen(clients: list[Client]) -> None:
    clients += [Client(FENCED), Client()]
    history: list[Operation] = []
    writer = Transactional("nobody:1", "t", history)
    assert not writer.run(lambda *_: None, commit=False)
    writer.abandon(lambda *_: None)
    assert ends(history) == [(False, Outcome.OK)] * 2
    names = [each.transaction for each in history if isinstance(each, End)]
    assert len(set(names)) == 2
