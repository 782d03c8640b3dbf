"""Levels `node` and `guarded`: odd requests against one node, before and after a login.

What a node may do with a request: answer it, let it wait, refuse it as malformed and forget it
altogether. What is never right: any other exception, an answer that cannot be encoded, a refusal
that left something behind, a view of the request that is used after its turn.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from flowstream.broker.effects import Close, Effect, LoggedIn, Reply
from flowstream.broker.events import Disconnected, Request
from flowstream.broker.handlers import ROUTES, handler_of, serves
from flowstream.broker.server.holdings import BEFORE_LOGIN
from flowstream.broker.types import LOCAL, ConnectionId, Principal, ReplyTo, Session
from flowstream.errors import WireError
from flowstream.wire.api import request_class, response_class
from flowstream.wire.fields import layout_of
from flowstream.wire.frame import decode_request, encode_request, encode_response
from flowstream.wire.messages.create_acls import AclCreation, CreateAclsRequest
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.schema import decoder, encoder
from tests.broker.machine import Machine
from tests.fuzz.batches import BOMB_BYTES
from tests.fuzz.generate import CONFIGS, Known, message, mutated
from tests.fuzz.resting import at_rest, ends, innocent, same
from tests.fuzz.stories import Teller
from tests.fuzz.watch import Finding, Watch

SERVED = [
    (key, version)
    for key, route in ROUTES.items()
    for version in range(route.oldest, route.newest + 1)
    if version in layout_of(request_class(key)).versions
]
OPENED = [each for each in SERVED if each[0] in BEFORE_LOGIN]
CONNECTIONS = 6
SLOW_DISK = 0.2
"""Of all requests the share after which the disk is still writing when the next one comes."""
ALIKE = 0.3
"""Of the requests behind one that waits the share that has the same number."""
PER_PARTITION = 24 * 1024
"""Memory for a partition that a request made."""
PER_ANSWERED = 20
"""Memory for each byte of an answer: it tells of what there is, not of what was asked."""
EXPANDED = 4 * BOMB_BYTES
"""Memory for batches that must be read: their bounds are settings, whatever their size."""
SECURED = {
    "listeners": "SASL_PLAINTEXT://127.0.0.1:9092",
    "sasl_enabled_mechanisms": "PLAIN,SCRAM-SHA-256",
    "super_users": "User:admin",
    "connection_failed_authentication_delay_ms": "0",
}
STRANGER = Session(listener="SASL_PLAINTEXT", protocol="SASL_PLAINTEXT")
ADMIN = STRANGER._replace(principal=Principal("User", "admin"), mechanism="PLAIN")
ALICE = STRANGER._replace(principal=Principal("User", "alice"), mechanism="PLAIN")


class Asked(Machine):
    """A machine with several clients, each with its session."""

    def __init__(self, seed: int, first: Session = LOCAL, **settings: str) -> None:
        self.first = first
        """What a client is when it comes."""
        self.sessions: dict[ConnectionId, Session] = {}
        self._connected = 1
        self._pace = random.Random(seed)
        self._waiting: dict[ConnectionId, int] = {}
        """The number of a client's last request, if that was not answered at once."""
        self._alike: set[int] = set()
        """Numbers that two requests have."""
        super().__init__(seed, None, **settings)

    @property
    def asked(self) -> int:
        """The number of the last request."""
        return self._asked

    def client(self, rng: random.Random) -> ConnectionId:
        """One of the clients; a new one at first and now and then."""
        if (len(self.sessions) < CONNECTIONS and rng.random() < 0.3) or not self.sessions:
            self._connected += 1
            self.sessions[ConnectionId(self._connected)] = self.first
        return rng.choice(list(self.sessions))

    def leave(self, connection: ConnectionId) -> None:
        """The client is gone."""
        if self.sessions.pop(connection, None) is not None:
            self.carry_out(self.node.handle(Disconnected(connection), self.now))

    def carry_out(self, effects: list[Effect]) -> None:
        """See to the clients' sessions too."""
        for effect in effects:
            number = effect.to.correlation_id if isinstance(effect, Reply) else 0
            if number in self._alike and number in self.replies:
                self._alike.discard(number)
                self.replies[-number] = self.replies.pop(number)
            super().carry_out([effect])
            if isinstance(effect, Close):
                self.leave(effect.connection)
            elif isinstance(effect, LoggedIn) and effect.connection in self.sessions:
                self.sessions[effect.connection] = effect.session

    def take(self, frame: bytearray, connection: ConnectionId) -> str:
        """One turn with a request's frame: what a server does with it. Now and then the disk takes
        its time until after the next one, which may have the number of one that waits.
        """
        try:
            key, version, _, client_id, body = decode_request(memoryview(frame))
        except WireError:
            return "refused"
        if not serves(key, version):
            return "refused"
        session = self.sessions[connection]
        if session == STRANGER and key not in BEFORE_LOGIN:
            return "refused"
        asked = self._number(connection)
        to = ReplyTo(connection, asked, key, version)
        before = ends(self.cores)
        try:
            effects = self.node.handle(Request(to, client_id, "127.0.0.1", body, session), self.now)
        except WireError as error:
            if ends(self.cores) != before:
                raise Finding("refused as malformed, but logs have grown") from error
            self.leave(connection)
            return "refused"
        try:
            self.carry_out(effects)
            # The buffer is received into again.
            frame[:] = b"\xee" * len(frame)
            if self._pace.random() >= SLOW_DISK:
                self.settle()
        except WireError as error:
            raise Finding("raised by a decision, not by the request") from error
        if connection not in self.sessions:
            return "closed"
        if asked in self.replies:
            return "answered"
        self._waiting[connection] = asked
        return "waiting"

    def _number(self, connection: ConnectionId) -> int:
        """What a request is numbered: a client may number two alike."""
        number = self._waiting.pop(connection, 0)
        if number and number not in self._alike and self._pace.random() < ALIKE:
            self._alike.add(number)
            return number
        self._asked += 1
        return self._asked


def node(seed: int, count: int, watch: Watch) -> Counter[str]:
    """Ask a node without security."""
    validation = "full" if seed % 4 == 0 else "header"
    machine = Asked(seed, offsets_topic_num_partitions="2", record_validation=validation)
    populate(machine)
    return _campaign(machine, seed, count, watch)


def guarded(seed: int, count: int, watch: Watch) -> Counter[str]:
    """Ask a node where one logs in: some clients have not, some may little, some everything."""
    machine = Asked(seed, STRANGER, **SECURED)
    machine.session = ADMIN
    populate(machine)
    rule = {"principal": "User:alice", "host": "*", "permission_type": 3}
    creations = tuple(
        AclCreation(resource_type=kind, resource_name=name, operation=operation, **rule)
        for kind, name in ((2, "a"), (3, "g"), (5, "t"))
        for operation in (3, 4, 8)
    )
    machine.ask(CreateAclsRequest(creations=creations), 3)
    return _campaign(machine, seed, count, watch)


def populate(machine: Machine) -> None:
    """Topics of several kinds."""
    settings = ((), CONFIGS[:1], CONFIGS[2:3] + CONFIGS[6:7])
    topics = tuple(
        CreatableTopic(
            name=name,
            num_partitions=2,
            replication_factor=1,
            configs=tuple(CreatableTopicConfig(name=n, value=v) for n, v in configs),
        )
        for name, configs in zip("abt", settings, strict=True)
    )
    machine.ask(CreateTopicsRequest(topics=topics), 5)


def _campaign(machine: Asked, seed: int, count: int, watch: Watch) -> Counter[str]:
    rng = random.Random(seed)
    chunk = Chunk(machine, rng, watch)
    seen: Counter[str] = Counter()
    for _ in range(count):
        seen[chunk.ask()] += 1
        _between(machine, rng)
    at_rest(machine)
    same(machine)
    machine.session = ADMIN if machine.first is STRANGER else LOCAL
    innocent(machine)
    return seen


def _between(machine: Asked, rng: random.Random) -> None:
    """Time passes, clients leave, the power goes."""
    chance = rng.random()
    if chance < 0.01:
        machine.wait(rng.choice((1, 1000, 60_000)))
    elif chance < 0.02 and machine.sessions:
        machine.leave(rng.choice(list(machine.sessions)))
    elif chance < 0.022:
        same(machine)
        machine.sessions.clear()
    elif chance < 0.04 and machine.first is STRANGER and machine.sessions:
        machine.sessions[rng.choice(list(machine.sessions))] = rng.choice((ALICE, ALICE, ADMIN))


class Chunk:
    """One machine's inputs, one after the other."""

    def __init__(self, machine: Asked, rng: random.Random, watch: Watch) -> None:
        self._machine = machine
        self._rng = rng
        self._watch = watch
        self._known = Known()
        self._teller = Teller(rng)

    def ask(self) -> str:
        """One input, and what came of it."""
        machine, rng = self._machine, self._rng
        connection = machine.client(rng)
        key, version, body, told = self._body(machine.sessions[connection])
        prepare(key, version)
        frame = b"".join(encode_request(key, version, 7, "fuzz", body))[4:]
        if rng.random() < (0.1 if told else 0.3):
            frame = mutated(frame, rng)
        partitions = len(machine.cores.logs.by_name)
        try:
            with self._watch.over(len(frame), more=EXPANDED if key in (0, 2) else 0) as watch:
                outcome = machine.take(bytearray(frame), connection)
                made = len(machine.cores.logs.by_name) - partitions
                size = self._answers(key if told else None)
                watch.allow(max(0, made) * PER_PARTITION + PER_ANSWERED * size)
        except Exception as error:
            error.add_note(f"API {key} v{version} {body!r:.3000}\n{frame[:2000].hex()}")
            raise
        return outcome

    def _body(self, session: Session) -> tuple[int, int, Any, bool]:
        """API key, version, request, and whether it is a step of a story."""
        rng = self._rng
        if session == STRANGER:
            key, version = rng.choice(OPENED if rng.random() < 0.9 else SERVED)
        elif rng.random() < 0.25:
            return (*self._teller.step(), True)
        else:
            key, version = rng.choice(SERVED)
        return key, version, message(request_class(key), version, rng, self._known), False

    def _answers(self, told: int | None) -> int:
        """Encode the answers that are there, and learn from them; their bytes. `told` is the API of
        a story's step: its frame may have become one of another.
        """
        size = 0
        replies, self._machine.replies = self._machine.replies, {}
        for asked, (to, answer) in replies.items():
            try:
                parts = encode_response(to.api_key, to.version, to.correlation_id, answer)
            except WireError as error:
                name = f"API {to.api_key} v{to.version}"
                raise Finding(f"{name} cannot carry {answer!r:.2000}") from error
            size += sum(map(len, parts))
            if to.api_key == told and asked == self._machine.asked:
                self._teller.answered(answer)
            if self._rng.random() < 0.3:
                self._known.learn(answer, self._rng)
        return size


def prepare(key: int, version: int) -> None:
    """Import and compile what an input of this kind needs: no input pays for it."""
    handler_of(key)
    decoder(request_class(key), version)
    encoder(response_class(key), version)
