"""One broker node: an event in, effects out. It routes requests, holds back what must be durable
first, and ticks.

It owns no state but the write groups in flight. It must not know sockets, files, threads or the
clock: the driver does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from flowstream.broker import lifecycle
from flowstream.broker.cores import Cores
from flowstream.broker.effects import (
    Advance,
    Close,
    Compute,
    Effect,
    Happened,
    Log,
    Parkable,
    Reply,
    ReplyWhenDurable,
    WhenDurable,
    Write,
)
from flowstream.broker.events import Computed, Disconnected, Durable, Event, Request
from flowstream.broker.handlers import handler_of
from flowstream.broker.metadata.records import MetadataRecord
from flowstream.broker.types import ConnectionId, Instant

_PARKABLE = frozenset(get_args(Parkable))

if TYPE_CHECKING:
    from flowstream.broker.authorization.gate import Gate
    from flowstream.broker.security.authorizer import Authorizer


class Node:
    """The broker as one deterministic machine; the same under a driver, a test and the simulator.

    `handle` returns only what a driver must do: Write, Reply, Close. Advance and WhenDurable stay
    inside, parked with the write group that they wait for, and a ReplyWhenDurable until then; so
    does what follows a Compute. After a turn's operations were taken, `close_group` names the
    group.
    """

    def __init__(self, cores: Cores) -> None:
        self.cores = cores
        self._written = False  # operations were emitted since the last close_group
        self._last_group = 0
        self._open: list[Parkable] = []
        self._gate = None if cores.authorizer is None else _gate(cores.authorizer, cores)

    def start(self, now: Instant, records: tuple[MetadataRecord, ...] = ()) -> list[Effect]:
        """Load the coordinators from their logs and finish what was interrupted (T7); `records`
        are written first.
        """
        return self._carry_out(lifecycle.start(self.cores, now, records), now)

    def stop(self, now: Instant) -> list[Effect]:
        """Close every log cleanly. The driver performs it; nothing is handled afterwards."""
        return self._carry_out(lifecycle.stop(self.cores, now), now)

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Decide about one event. Raises WireError when a request is malformed beyond its frame."""
        if isinstance(event, Request):
            if self._gate is not None:
                return self._guarded(event, self._gate, now)
            effects = handler_of(event.to.api_key)(event, self.cores, now)
            return self._carry_out(effects, now)
        if isinstance(event, Durable):
            effects = self._release(event.group, now)
        elif isinstance(event, Computed):
            then = self.cores.waiting.computing.pop(event.connection, None)
            effects = [] if then is None else self._carry_out(then(event.result, now), now)
        elif isinstance(event, Disconnected):
            effects = []
            self._disconnected(event.connection)
        else:
            effects = self.cores.waiting.expire(now)
            effects += lifecycle.tick(self.cores, now)
            effects = self._carry_out(effects, now)
        return effects if self._gate is None else self._gate.complete(effects)

    def _guarded(self, request: Request[object], gate: Gate, now: Instant) -> list[Effect]:
        """Handle what the gate admits of a request, and answer what it does not."""
        admission = gate.admit(request, now)
        told: list[Effect] = [Happened(admission.denied)] if admission.denied else []
        if admission.answer is not None:
            return [*told, Reply(request.to, admission.answer)]
        if admission.body is not None:
            request = replace(request, body=admission.body)
        elif admission.close:
            return [Close(request.to.connection, admission.close)]
        if admission.allows is not None:
            request = replace(request, allows=admission.allows)
        effects = told + handler_of(request.to.api_key)(request, self.cores, now)
        if admission.close:
            effects.append(Close(request.to.connection, admission.close))
        return gate.complete(self._carry_out(effects, now))

    def _disconnected(self, connection: ConnectionId) -> None:
        self.cores.waiting.disconnected(connection)
        if self.cores.sasl is not None:
            self.cores.sasl.disconnected(connection)
        if self._gate is not None:
            self._gate.disconnected(connection)

    def close_group(self) -> int | None:
        """The id of the write group that this turn's operations form; None when the turn wrote
        nothing.
        """
        if not self._written:
            return None
        self._written = False
        self._last_group += 1
        self.cores.waiting.groups.append((self._last_group, self._open))
        self._open = []
        return self._last_group

    def deadline(self) -> Instant | None:
        """When the next Tick is wanted."""
        return lifecycle.deadline(self.cores)

    def _carry_out(self, effects: Iterable[Effect], now: Instant) -> list[Effect]:
        """Return the effects that are the driver's; park those that wait for durability."""
        out: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Write):
                self._written = self._written or bool(effect.operations)
                out.append(effect)
            elif type(effect) not in _PARKABLE:
                if isinstance(effect, Compute):
                    self.cores.waiting.computing[effect.connection] = effect.then
                out.append(effect)
            elif self._written:
                self._open.append(effect)  # type: ignore[arg-type]
            else:
                self._park(effect, now, out)  # type: ignore[arg-type]
        return out

    def _park(self, effect: Parkable, now: Instant, out: list[Effect]) -> None:
        """This turn wrote nothing so far: wait for the group before, if there is one."""
        groups = self.cores.waiting.groups
        if groups:
            groups[-1][1].append(effect)
        elif isinstance(effect, Advance):
            out += self._advance({effect.log: effect.offset}, now)
        elif isinstance(effect, ReplyWhenDurable):
            out.append(effect)
        else:
            out += self._carry_out(effect.then(now), now)

    def _release(self, group: int, now: Instant) -> list[Effect]:
        """All groups up to `group` are durable. High watermarks move first: what runs then sees
        them.
        """
        groups = self.cores.waiting.groups
        durable: list[Parkable] = []
        while groups and groups[0][0] <= group:
            durable += groups.popleft()[1]
        ends: dict[Log, int] = {}
        for effect in durable:
            if isinstance(effect, Advance):  # a log start that moved tells the end of before, too
                ends[effect.log] = max(effect.offset, ends.get(effect.log, 0))
        out = self._advance(ends, now)
        for effect in durable:
            if isinstance(effect, ReplyWhenDurable):
                out.append(effect)
            elif isinstance(effect, WhenDurable):
                out += self._carry_out(effect.then(now), now)
        return out

    def _advance(self, ends: dict[Log, int], now: Instant) -> list[Effect]:
        if not ends:
            return []
        for log, offset in ends.items():
            log.advance(offset)
        return self._carry_out(self.cores.waiting.moved([log.name for log in ends], now), now)


def _gate(authorizer: Authorizer, cores: Cores) -> Gate:
    """Imported only where it is needed: the rules know every API, and start-up time counts."""
    from flowstream.broker.authorization.gate import Gate

    return Gate(authorizer, cores)
