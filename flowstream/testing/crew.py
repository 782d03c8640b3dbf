"""The workers of a test context: their start and their end, and what "settled" means.

Shell. Works at the moments when everything stands still (`quiet`): wakes who has something to do,
lets members hear of rebalances, kills who is due for it, and says when all is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from flowstream.errors import FlowstreamError
from flowstream.processing.app import App
from flowstream.processing.commit import Step
from flowstream.processing.duties.matching import matched
from flowstream.processing.environment.settings import Settings
from flowstream.testing.lives import Killed, Life, WatchedRest
from flowstream.testing.memory_broker import MemoryBroker, Network
from flowstream.testing.places import Places
from flowstream.testing.watching import busy, has_work
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity

PATIENCE_S = 60.0
NEVER_S = 1e12
FETCH_WAIT_MS = 86_400_000


class StillBusy(FlowstreamError, AssertionError):
    """An agent does not finish its event, however much time passes."""


class Crew:
    """Workers of one app over one broker in memory."""

    def __init__(
        self,
        app: App,
        broker: MemoryBroker,
        network: Network,
        places: Places,
        settings: Settings,
        reborn: Callable[[], App],
    ) -> None:
        """`reborn` gives the app of a worker that starts after a kill."""
        self.lives: list[Life] = []
        self.crashes = 0
        self.commits = 0
        self._app = app
        self._broker = broker
        self._network = network
        self._places = places
        self._settings = settings
        self._reborn = reborn
        self._rests: list[WatchedRest] = []
        self._poked: tuple[object, ...] = ()
        self._is_smaller = False
        self._settling: asyncio.Future[None] | None = None
        self._crash_at: tuple[str, int, bool] | None = None
        self._crash_after: bool | None = None
        """Whether to start again after a crash that waits for events; None: none waits."""
        broker.loop.quiet = self.quiet
        broker.loop.set_exception_handler(_ignore_killed)

    def crash_at(self, step: str, times: int, *, restart: bool) -> None:
        """See `AppContext.crash_at`."""
        self._crash_at = (step, times, restart)

    def crash_after(self, events: int, *, restart: bool) -> None:
        """See `AppContext.crash_after`."""
        self._crash_after = restart
        for life in self.lives:
            if life.fetching is not None and life.membership is not None:
                life.fetching.allowance = events
                life.membership._commits._interval = NEVER_S

    def begin(self) -> None:
        """Start one more."""
        rest = WatchedRest()
        loop = self._broker.loop
        if loop.is_running():
            self._live(rest)
        else:
            with loop.entered():
                self._live(rest)

    def _live(self, rest: WatchedRest) -> None:
        app = self._reborn() if self.crashes else self._app
        life = Life(
            app, self._broker, self._network, self._places, self._checkpoint,
            rest=rest, fetch_wait_ms=FETCH_WAIT_MS, settings=self._settings,
        )  # fmt: skip
        rest.life = life
        self.lives.append(life)
        self._rests.append(rest)

    def forget(self, life: Life) -> None:
        """It is no more."""
        self._is_smaller = True
        self.lives.remove(life)
        self._rests = [rest for rest in self._rests if rest.life is not life]

    def kill(self, life: Life, *, restart: bool) -> None:
        """Kill a worker where it stands; with `restart` the next one takes its slot."""
        self.crashes += 1
        self.forget(life)
        loop = self._broker.loop
        member = life.member
        if loop.is_running():
            life.kill()
        else:
            with loop.entered():
                life.kill()
        if member is not None and member._member_id:
            # Else the group would wait for the dead until its session ends.
            gone = (MemberIdentity(member_id=member._member_id),)
            request = LeaveGroupRequest(group_id=self._app.id, members=gone)
            self._broker.ask("test", ApiKey.LEAVE_GROUP, 5, request)
        if restart:
            self.begin()

    def _checkpoint(self, life: Life, step: str) -> None:
        self.commits += step == Step.DONE.value
        if self._crash_at is None or self._crash_at[0] != step:
            return
        if step == Step.CLOSE.value and not has_work(life.membership):
            return
        step, times, restart = self._crash_at
        self._crash_at = None if times == 1 else (step, times - 1, restart)
        if times == 1:
            self.kill(life, restart=restart)

    async def stop(self, lives: list[Life]) -> None:
        """Stop them gracefully. Raises what they raise."""
        for life in lives:
            life.worker.stop()
        for life in lives:
            await asyncio.wait((life.running,), timeout=PATIENCE_S)
            if life in self.lives:
                self.forget(life)
            if not life.running.done():
                life.kill()
            elif not life.running.cancelled():
                life.running.result()

    async def settle(self, patience: float) -> None:
        """Wait until nothing is left to do. Raises what ended a worker, and StillBusy."""
        loop = self._broker.loop
        until = loop.time() + patience
        self._settling = loop.create_future()
        timer = loop.call_at(until, self._impatient, patience)
        try:
            await self._settling
        finally:
            timer.cancel()
            self._settling = None

    def _impatient(self, patience: float) -> None:
        if self._settling is not None and not self._settling.done():
            what = "; ".join(found for life in self.lives for found in busy(life.membership))
            self._settling.set_exception(
                StillBusy(
                    f"not settled after {patience:g} s of virtual time: {what or 'no worker'}."
                    " Let more time pass with context.advance(seconds), or send with settle=False"
                )
            )

    def quiet(self) -> bool:
        """Nothing is ready to run: wake who has something to do, before time passes."""
        ended = [life for life in self.lives if life.running.done()]
        for life in ended:
            self.forget(life)
            if self._settling is not None and not self._settling.done():
                error = None if life.running.cancelled() else life.running.exception()
                if error is not None:
                    self._settling.set_exception(error)
                    return True
        if self._is_spent():
            return True
        self._look_around()
        woken = [rest for rest in self._rests if rest.look()]
        if woken:
            return True
        if self._poke():
            return True
        if self._settling is None or self._settling.done() or not self._is_settled():
            return False
        self._settling.set_result(None)
        return True

    def _look_around(self) -> None:
        """Have workers plan anew when a topic has come, or gone, that a pattern matches."""
        names = self._broker.node.cores.logs.partitions
        found = matched(self._app, names)
        for life in self.lives:
            plan = life.worker.plan
            if plan is not None and not life.worker.is_outgrown:
                known = plan.matched | plan.sources.keys()
                if found - known or plan.matched & plan.sources.keys() - names.keys():
                    life.worker.outgrown()

    def _is_spent(self) -> bool:
        """Kill who has taken as many events as `crash_after` allows."""
        for life in self.lives if self._crash_after is not None else ():
            if life.fetching is not None and life.fetching.allowance == 0:
                restart, self._crash_after = bool(self._crash_after), None
                self.kill(life, restart=restart)
                for other in self.lives:
                    if other.fetching is not None and other.membership is not None:
                        other.fetching.allowance = None
                        other.membership._commits._interval = 0.0
                return True
        return False

    def _poke(self) -> bool:
        """Let members hear of a rebalance: others wait for it, or have left."""
        members = [life.member for life in self.lives if life.member is not None]
        seen = tuple((id(m), m.generation, m.is_rebalancing, m._unfinished) for m in members)
        waits = any(m.is_rebalancing or m._unfinished for m in members)
        if not (self._is_smaller or (waits and seen != self._poked)):
            return False
        self._is_smaller, self._poked = False, seen
        idle = [m for m in members if not m.is_rebalancing and m.generation is not None]
        for member in idle:
            member.want_rebalance()
        return bool(idle)

    def _is_settled(self) -> bool:
        return all(
            rest.is_on
            and rest.life is not None
            and rest.life.has_joined
            and not busy(rest.life.membership)
            for rest in self._rests
        )


def _ignore_killed(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    if not isinstance(told.get("exception"), Killed):
        loop.default_exception_handler(told)
