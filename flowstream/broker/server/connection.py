"""One client connection: bytes in, requests out in order; replies in, bytes out in the order of
their requests, which `answers` keeps.

Lives here: framing, the receive buffer and its bounds, back-pressure. It must not know what a
request means, beyond that Produce may be pipelined and that ApiVersions has an answer in every
version.

The socket is read and written directly from loop callbacks (no streams, no transport): requests are
parsed in place in an own buffer, and large answers go out without being copied (HOTPATH).
"""

from __future__ import annotations

import asyncio
import logging

from flowstream.broker.events import Request
from flowstream.broker.handlers import serves, unsupported_api_versions
from flowstream.broker.server.answers import Answers, Slot
from flowstream.broker.server.holdings import (
    BEFORE_LOGIN,
    BUSY_BYTES,
    JOIN_BYTES,
    LOGIN_FRAME_BYTES,
    PIPELINED,
    REST_BYTES,
    UNSENT_BYTES,
)
from flowstream.broker.server.stream import Stream, has_ended
from flowstream.broker.server.turns import Turns
from flowstream.broker.types import LOCAL, ConnectionId, ReplyTo, Session
from flowstream.errors import WireError
from flowstream.wire.api import ApiKey
from flowstream.wire.decoder import ELEMENTS
from flowstream.wire.frame import UnsupportedVersion, decode_request, encode_response, unpack_length
from flowstream.wire.tokens import decode_token, encode_token

log = logging.getLogger("flowstream.broker")

PRODUCE = int(ApiKey.PRODUCE)
FETCH = int(ApiKey.FETCH)
API_VERSIONS = int(ApiKey.API_VERSIONS)


class Connection:
    """A connected client. `sweeps` counts the sweeps since it came, `idle_sweeps` those since bytes
    last came or went.
    """

    LAYER_BYTES = 0  # what a layer beneath keeps beside, while anything is under way
    __slots__ = (
        "_announced", "_answers", "_blocked", "_buffer", "_counters", "_decode", "_encode", "_end",
        "_ending", "_gone", "_heard", "_is_full", "_largest", "_loop", "_max_frame", "_memory",
        "_muted", "_reading", "_resuming", "_socket", "_start", "_turn", "_turns", "_unsent",
        "_view", "_writing", "closed", "host", "id", "idle_sweeps", "logged_in", "session",
        "sweeps",
    )  # fmt: skip

    def __init__(
        self,
        id: ConnectionId,
        sock: Stream,
        host: str,
        turns: Turns,
        loop: asyncio.AbstractEventLoop,
        max_frame: int,
        session: Session = LOCAL,
        *,
        logged_in: bool = True,
    ) -> None:
        self.id = id
        self.host = host
        self.closed = False
        self.idle_sweeps = self.sweeps = 0
        self.session = session
        self.logged_in = logged_in
        """Whether more than a login is parsed; true from the start where nobody logs in."""
        self._socket = sock
        self._turns = turns
        self._memory = turns.relief.memory
        self._counters = turns.counters
        self._heard = 0  # when bytes came last; kept only for the counters
        self._loop = loop
        self._decode = decode_request
        self._encode = encode_response
        self._largest = max_frame
        self._max_frame = max_frame if logged_in else min(LOGIN_FRAME_BYTES, max_frame)
        self._ending = ""  # why to close once everything is sent; nothing more is parsed
        self._gone = False  # its peer sends no more
        self._buffer = bytearray(REST_BYTES)
        self._view = memoryview(self._buffer)
        self._is_full = False  # what was received last filled the buffer
        self._start = 0  # first byte not yet parsed
        self._end = 0  # first byte not yet received
        self._turn = -1  # the turn in which views of the buffer were handed out
        self._answers = Answers()
        self._blocked = False  # a request other than Produce waits for its answer
        self._muted: asyncio.TimerHandle | None = None  # runs until its client may go on
        self._unsent = 0  # what the account knows of the answers
        self._reading = True
        self._writing = False
        self._resuming = False
        self._announced = False  # `send` will be called at the end of this turn
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def established(self) -> bool:
        """Whether the client may ask everything by now."""
        return self.logged_in

    # -- receiving ------------------------------------------------------------------------

    def _readable(self) -> None:
        room = self._room()
        if not room:
            self._pause()
            return
        try:
            count = self._socket.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"receive failed: {error}")
            return
        if count == 0:
            self._gone = True
            self._pause()
            self._resume_soon()  # what it sent before may want no answer
            return
        self._end += count
        self._is_full = count == len(room)
        self.idle_sweeps = 0
        if self._counters is not None:
            self._counters.bytes_in += count
            self._heard = self._counters.clock()
        self._parse()

    def _room(self) -> memoryview:
        """Where to receive into; empty while the buffer is full of requests that have to wait."""
        if self._turn == self._turns.turn:
            self._turns.end_turn()  # views of the buffer are still in use: use them up
        if self._start == self._end:
            self._start = self._end = 0
        if (self._is_full and len(self._buffer) < BUSY_BYTES) or self._end == len(self._buffer):
            self._make_room()
        return self._view[self._end :]

    def _make_room(self) -> None:
        held = self._view[self._start : self._end]
        if len(self._buffer) < BUSY_BYTES:
            self._renew_buffer(BUSY_BYTES)
        elif not self._start and not self._must_wait():
            # Twice what has arrived, never what a length field claims (X3).
            self._renew_buffer(min(2 * len(self._buffer), self._max_frame + 4))
        self._view[: len(held)] = held
        self._start, self._end = 0, len(held)

    def _renew_buffer(self, size: int) -> None:
        if self.closed:
            return  # with the turn that ended just now: nobody would give back what it held
        self._turns.relief.count(self.id, self._holds(size))
        if size > REST_BYTES:
            self._turns.relief.relieve()
        if not self.closed:
            self._buffer = bytearray(size)
            self._view = memoryview(self._buffer)

    def _holds(self, buffer: int) -> int:
        held = max(0, buffer - REST_BYTES) + self._unsent
        return held + self.LAYER_BYTES if held else 0

    def give_back(self) -> None:
        """Hold no more of the buffer than at rest, if nothing is in it."""
        if len(self._buffer) > REST_BYTES and self._start == self._end:
            self._renew_buffer(REST_BYTES)
            self._start = self._end = 0

    def _parse(self) -> None:
        if self._memory.read and not self._memory.has_room():
            self._turns.end_turn()  # what is ready leaves first, or somebody goes (X3)
            if self.closed:
                return
        view, start = self._view, self._start
        left = PIPELINED  # of this turn; then others come in between (X4)
        while left and self._end - start >= 4 and not self.closed and not self._must_wait():
            (length,) = unpack_length(view, start)
            if not 0 < length <= self._max_frame:
                self.close(f"a frame of {length} bytes; allowed are 1 to {self._max_frame}")
                return
            if self._end - start - 4 < length:
                break
            start += 4 + length
            self._start = start
            left = left - 1 if self._request(view[start - length : start]) else 0
        if not left and start < self._end:
            self._resume_soon()
        if self._reading and self._must_wait() and self._end == len(self._buffer):
            self._pause()

    def _request(self, frame: memoryview) -> bool:
        """Hand in a request; whether another may follow in the same turn."""
        if (
            not self.logged_in
            and self._decode is not decode_token
            and (int.from_bytes(frame[:2], "big") not in BEFORE_LOGIN)
        ):
            self.close("a request before the login")
            return False
        try:
            # A shorter frame cannot hold more elements than everybody may name.
            most = ELEMENTS
            if len(frame) > ELEMENTS:
                most = self._turns.elements_allowed(int.from_bytes(frame[:2], "big"))
            key, version, correlation_id, client_id, body = self._decode(frame, most)
            if not serves(key, version):
                raise UnsupportedVersion(key, version, correlation_id, client_id)
        except UnsupportedVersion as error:
            if error.key != API_VERSIONS:
                self.close(str(error))
                return False
            # The peer learns the versions from an answer that every version can read (KIP-511).
            self._blocked = True
            self._answers.expected.append(Slot(error.correlation_id, API_VERSIONS, self._heard))
            to = ReplyTo(self.id, error.correlation_id, API_VERSIONS, 0)
            self.reply(to, unsupported_api_versions())
            return False
        except WireError as error:
            self.close(f"malformed request: {error}")
            return False
        self._turn = self._turns.turn
        if self._counters is not None:
            self._counters.asked(key, len(frame))
        if key != PRODUCE:
            self._blocked = True
            self._answers.expected.append(Slot(correlation_id, key, self._heard))
        elif body.acks != 0:
            self._answers.expected.append(Slot(correlation_id, key, self._heard))
        to = ReplyTo(self.id, correlation_id, key, version)
        self._turns.submit(Request(to, client_id, self.host, body, self.session, len(frame)))
        return key == PRODUCE

    def _must_wait(self) -> bool:
        """Whether the next request has to wait: as in Kafka until the one before it is answered.
        Only Produce is pipelined, because its answers wait for the disk.
        """
        if self._muted is not None:  # its client is over a quota
            return True
        answers = self._answers
        return self._blocked or answers.size > UNSENT_BYTES or len(answers.expected) >= PIPELINED

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def mute(self, milliseconds: int) -> None:
        """Look at no further request for so long; what was taken in is answered (KIP-219)."""
        if self.closed:
            return
        until = self._loop.time() + milliseconds / 1000
        if self._muted is not None:
            until = max(until, self._muted.when())
            self._muted.cancel()
        self._muted = self._loop.call_at(until, self._unmute)

    def _unmute(self) -> None:
        self._muted = None
        if not self._resuming:
            self._resume()

    def _resume_soon(self) -> None:
        if not self._resuming:
            self._resuming = True
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        """Look at what was received meanwhile, then receive again."""
        self._resuming = False
        self._parse()
        waits = self._resuming or (self._muted is not None and self._start < self._end)
        if self._gone and not waits:
            self.close("closed by its peer")
        if not (self.closed or self._reading or self._gone or self._must_wait()):
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._readable)

    # -- sending --------------------------------------------------------------------------

    def reply(self, to: ReplyTo, body: object) -> None:
        """Answer a request; its bytes leave after all answers to earlier requests."""
        try:
            answer = self._encode(to.api_key, to.version, to.correlation_id, body)
        except WireError as error:
            # Our fault, but of one answer: what was decided stands, the peer asks again.
            log.error("an answer that %s cannot carry: %s", to, error)
            self.close(f"no answer: {error}")
            return
        answers = self._answers
        before = answers.size
        for done in answers.put(to, answer):
            if done.api_key != PRODUCE:
                self._blocked = bool(self._ending)
            if self._counters is not None:
                self._counters.answered(done.api_key, done.since, sum(map(len, done.answer or ())))
        if answers.leaving and not self._writing and not self._announced:
            self._announced = True
            self._turns.to_send(self)
        elif answers.size > JOIN_BYTES and not self._announced:
            self._count_answers()  # else when it was tried: what leaves at once is nobody's burden
        if answers.size - before > REST_BYTES and to.api_key != FETCH:
            self._memory.read += answers.size - before

    def send(self) -> None:
        """Send what is ready; the rest when the socket takes it."""
        self._announced = False
        answers = self._answers
        if self.closed or not answers.leaving:
            return
        try:
            while answers.leaving:
                sent = answers.send(self._socket)
                self.idle_sweeps = 0
                if self._counters is not None:
                    self._counters.bytes_out += sent
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.close(f"send failed: {error}")
            return
        if answers.leaving or self._writing or self._unsent or answers.size > JOIN_BYTES:
            self._keep_unsent()
        if self._ending and not answers.leaving:
            self.close(self._ending)
            return
        if (self._start < self._end or not self._reading) and not self._must_wait():
            self._resume_soon()

    def _keep_unsent(self) -> None:
        if bool(self._answers.leaving) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._socket.fileno(), self.send)
            else:
                self._loop.remove_writer(self._socket.fileno())
        self._count_answers()

    def _count_answers(self) -> None:
        self._unsent = self._answers.held
        self._turns.relief.count(self.id, self._holds(len(self._buffer)))

    # -- logging in, and the end ----------------------------------------------------------

    def expect_tokens(self) -> None:
        """Until it is logged in the client sends and takes tokens without headers."""
        self._decode, self._encode = decode_token, encode_token

    def log_in(self, session: Session) -> None:
        """From the next request on the client is somebody, and may ask everything."""
        self.session = session
        self.logged_in = True
        self._max_frame = self._largest
        self._decode, self._encode = decode_request, encode_response

    def end(self, reason: str) -> None:
        """Close once the answers that are ready are sent; parse nothing more."""
        self._ending = reason
        self._blocked = True
        if not self._answers.leaving and not self.closed:
            self.close(reason)

    def sweep(self) -> None:
        """Called at intervals: a connection at rest or that waits for an answer gives its large
        buffer back. One that waits for anything is not idle; one whose peer is gone is: a quota may
        mute it for weeks (X3).
        """
        self.sweeps += 1
        if self._blocked and not self._reading and has_ended(self._socket):
            # Behind a full buffer its end is not read before its answer, which may take weeks.
            self.close("closed by its peer")
            return
        waits = bool(self._answers.expected) or (self._muted is not None and not self._gone)
        self.idle_sweeps = 0 if waits else self.idle_sweeps + 1
        if self.idle_sweeps > 1 or self._blocked:
            self.give_back()

    def close(self, reason: str) -> None:
        """Close at once; unanswered requests stay unanswered."""
        if self.closed:
            return
        self.closed = True
        self._reading = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._turns.relief.count(self.id, 0)
        if self._muted is not None:
            self._muted.cancel()
        self._answers.drop()
        self._turns.closed(self, reason)
