"""The answers of one connection: each leaves after those to all requests before it, and as much at
a time as the socket takes.

Lives here: their order and their bytes. It must not know what was asked, when to send, or who keeps
the account of what is not sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flowstream.broker.doors import Buffer
from flowstream.broker.server.holdings import IOV_MAX, JOIN_BYTES
from flowstream.broker.server.stream import Stream, drop_sent, sent_behind
from flowstream.broker.types import ReplyTo


@dataclass(slots=True)
class Slot:
    """The place of one request's answer in the order of answers."""

    correlation_id: int
    api_key: int
    since: int
    answer: list[Buffer] | None = None


class Answers:
    """What a client waits for. `Connection` adds to `expected` itself: it does so per request."""

    __slots__ = ("expected", "leaving", "size")

    def __init__(self) -> None:
        self.expected: deque[Slot] = deque()
        """Requests whose answers are not on their way, oldest first."""
        self.leaving: list[Buffer] = []
        """What the socket is to take next."""
        self.size = 0
        """Bytes that are not sent: those that leave, and answers that wait for those before."""

    @property
    def held(self) -> int:
        """How much memory they take."""
        return self.size + sent_behind(self.leaving)

    def put(self, to: ReplyTo, answer: list[Buffer]) -> list[Slot]:
        """Take the answer to one of the expected requests. Those, in order, whose answers leave
        with it: none as long as one before it is not answered.
        """
        expected = self.expected
        for slot in expected:
            if slot.answer is None and slot.correlation_id == to.correlation_id:
                slot.answer = answer
                break
        else:
            raise AssertionError(f"an answer to no request: {to}")
        self.size += len(answer[0]) if len(answer) == 1 else sum(map(len, answer))
        done = []
        while expected and (ready := expected[0].answer) is not None:
            self.leaving.extend(ready)
            done.append(expected.popleft())
        return done

    def send(self, stream: Stream) -> int:
        """Hand the socket what it takes at once; how many bytes. Raises BlockingIOError when it
        takes none.
        """
        if self.size <= JOIN_BYTES and len(self.leaving) > 1:
            self.leaving = [b"".join(self.leaving)]
        sent = stream.sendmsg(self.leaving[:IOV_MAX])
        self.size -= sent
        drop_sent(self.leaving, sent)
        return sent

    def drop(self) -> None:
        """Nobody is there any more to take them."""
        self.leaving = []
        self.expected.clear()
