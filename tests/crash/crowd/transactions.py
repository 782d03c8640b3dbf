"""A transactional producer of the crowd, with an end for every transaction in the history."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from tests.checkers.history import End, Operation, Outcome
from tests.crash.crowd.clients import CALM, RETRY_S, Sender, Stalled

TIMEOUT_MS = 10_000
SERIAL = itertools.count()
"""No two transactions or sessions of a campaign have one name."""
Fill = Callable[[Sender, str], None]


class Transactional:
    """One transactional id and its producer, made anew when it was fenced."""

    def __init__(
        self, broker: str, id: str, history: list[Operation], *, timeout_ms: int = TIMEOUT_MS
    ) -> None:
        self.id = id
        self._timeout_ms = timeout_ms
        self.fenced = 0
        self._broker, self._history = broker, history
        self._sender: Sender | None = None

    def run(self, fill: Fill, *, commit: bool) -> bool:
        """One transaction; whether it committed for sure. Raises Stalled."""
        sender, name = self.begin(fill)
        asked = False
        try:
            if commit:
                asked = True
                self._repeat(sender.producer.commit_transaction)
            else:
                self._repeat(sender.producer.abort_transaction)
            outcome = Outcome.OK
        except KafkaException as exception:
            commit, outcome = asked, Outcome.UNKNOWN if asked else Outcome.OK
            self._recover(sender, exception.args[0])
        # Nobody asked for the commit of the others: their records may never be seen.
        self._history.append(End(name, commit, outcome))
        return commit and outcome is Outcome.OK

    def begin(self, fill: Fill) -> tuple[Sender, str]:
        """A transaction left open, with its records acknowledged as far as they are."""
        if self._sender is None:
            self._sender = self._start()
        sender, name = self._sender, f"{self.id}/{next(SERIAL)}"
        sender.producer.begin_transaction()
        fill(sender, name)
        sender.settle()
        return sender, name

    def abandon(self, fill: Fill) -> None:
        """A transaction that nobody ends but the coordinator, when its time is over (T4, T10)."""
        _, name = self.begin(fill)
        self._history.append(End(name, commit=False, outcome=Outcome.OK))
        self.close()

    def finish(self, ask: Callable[[float], None]) -> None:
        """An end whose outcome does not matter, but that must come (T10). Raises Stalled."""
        try:
            self._repeat(ask)
        except KafkaException:
            self.fenced += 1

    def close(self) -> None:
        """Let go of the producer."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _start(self) -> Sender:
        more = {
            "transactional.id": self.id,
            "transaction.timeout.ms": self._timeout_ms,
            "message.timeout.ms": self._timeout_ms,
        }
        session = f"{self.id}#{next(SERIAL)}"
        sender = Sender(self._broker, session, self._history, **more)
        self._repeat(sender.producer.init_transactions)
        return sender

    def _recover(self, sender: Sender, error: KafkaError) -> None:
        """Abort where that helps; else the next transaction is a new producer's."""
        if error.txn_requires_abort():
            try:
                self._repeat(sender.producer.abort_transaction)
                return
            except KafkaException:
                pass  # fenced meanwhile
        self.fenced += 1
        self.close()

    def _repeat(self, ask: Callable[[float], None]) -> None:
        """Ask as long as the client says that it may."""
        began = time.monotonic()
        while True:
            try:
                ask(RETRY_S * 10)
                return
            except KafkaException as exception:
                if not exception.args[0].retriable():
                    raise
                if CALM.is_over(began):
                    raise Stalled(f"{self.id}: {exception.args[0]}") from exception
