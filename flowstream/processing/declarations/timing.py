"""What an app declares about time: timers per key, crontabs, timers and tasks of a worker."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar, overload

from flowstream.processing import declaring
from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.policies import OnError
from flowstream.processing.declarations.background import Chore, Function, called, takes_app
from flowstream.processing.declarations.command_classes import Command, Decorator
from flowstream.processing.declarations.commands import (
    OF_AN_APP,
    Subcommand,
    command_of,
    given_to,
)
from flowstream.processing.declarations.services import Service, service_of
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import AppError
from flowstream.processing.instead import telling
from flowstream.processing.streams.stream import Stream
from flowstream.processing.tables.crontabs import Crontab, Schedule, rows_table
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.timers import TimeDomain, Timers
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.processing.watching.announcing import Announcing
from flowstream.processing.watching.tracing import traced

K = TypeVar("K")
V = TypeVar("V")
S = TypeVar("S", bound=Service)
C = TypeVar("C", bound=Function | type[Command])


class Timing(Announcing):
    """The part of an app that is about time."""

    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, Table[Any, Any]] = {}
        self.agents: dict[str, Agent[Any]] = {}
        self.timers: dict[str, Timers[Any, Any]] = {}
        self.chores: list[Chore] = []
        self.services: list[Service] = []
        self.commands: dict[str, Subcommand] = {}
        self._crontab_rows = rows_table()

    def check_table_name(self, name: str) -> None:
        """Refuse a name that cannot be a table's, or that a table or timers have."""
        declaring.check_table_name(name)
        if name in self.tables or name in self.timers:
            raise AppError(f"table or timers {name!r} is declared twice")

    def add_agent(self, agent: Agent[Any]) -> None:
        """Enter an agent under its name."""
        declaring.check_row_name(agent.name, f"agent {agent.name!r}")
        if agent.name in self.agents:
            raise AppError(f"agent {agent.name!r} is declared twice: pass name= to one of them")
        self.agents[agent.name] = agent

    @overload
    def Timers(
        self, name: str, *, key_type: type[K], value_type: type[V], time: TimeDomain = ...,
        partitions: int | None = ...,
    ) -> Timers[K, V]: ...  # fmt: skip
    @overload
    def Timers(
        self, name: str, *, value_type: type[V], time: TimeDomain = ...,
        partitions: int | None = ...,
    ) -> Timers[str, V]: ...  # fmt: skip
    @telling("App.Timers")
    def Timers(  # as Table: it is one
        self,
        name: str,
        *,
        key_type: Any = str,
        value_type: Any,
        time: TimeDomain = "event",
        partitions: int | None = None,
    ) -> Timers[Any, Any]:
        """Declare durable timers, one per key, each with a value; an agent reads those that fire.

        With `time="event"` a timer fires once the watermark has reached its instant, with
        "processing" once the worker's clock has. See `Timers.set`.

        >>> app = App("shop")
        >>> reminders = app.Timers("reminders", value_type=str)
        >>> @app.agent(reminders)
        ... async def remind(timers):
        ...     async for customer, text in timers.items():
        ...         print(customer, text)
        """
        self.check_table_name(name)
        declaring.check_partitions(partitions, f"timers {name!r}")
        timers: Timers[Any, Any] = Timers(
            name, key_type=key_type, value_type=value_type, time=time, partitions=partitions
        )
        self.timers[name] = timers
        return timers

    @telling("App.crontab")
    def crontab(
        self,
        expression: str,
        *,
        timezone: str | datetime.tzinfo | None = None,
        name: str | None = None,
        on_error: OnError = "stop",
        on_leader: bool = True,
        traced: bool = True,
    ) -> Callable[[Function], Function]:
        """Run a function at times of the clock: once per app, in whichever worker has partition 0.

        It takes no argument, or the app. What it sends commits with the fact that it ran. Times
        that were missed while no worker lived are made up for by one run. `timezone` is a name as
        "Europe/Berlin" (UTC unless given). `on_leader` is always so.

        >>> app = App("shop")
        >>> @app.crontab("0 6 * * mon-fri", timezone="Europe/Berlin")
        ... async def wake_up() -> None: ...
        """
        declaring.check_called(expression, "its times", "@app.crontab('0 6 * * *')")
        if on_leader is not True:
            raise AppError(
                f"App.crontab(on_leader={on_leader!r}): a crontab runs once per app, whichever"
                " worker that is in; an app.task that sleeps runs in each"
            )
        if traced is not True:
            raise AppError("App.crontab(traced=False): its run is a unit, and has a unit's span")
        schedule = Schedule(expression, timezone or self.settings.timezone)

        def declare(function: Function) -> Function:
            named = name or function.__name__
            takes_app(function, f"crontab {named!r}")
            declaring.check_row_name(named, f"crontab {named!r}")

            async def body(stream: Stream[bytes]) -> None:
                async for _ in stream:
                    await called(function, self)

            source = Crontab(named, schedule, self._crontab_rows)
            self.add_agent(Agent(body, source, name=source.name, sinks=(), on_error=on_error))
            return function

        return declare

    @telling("App.timer")
    def timer(
        self, interval: Seconds, *, on_leader: bool = False, traced: bool = True
    ) -> Callable[[Function], Function]:
        """Run a function in each worker every `interval` seconds, the first time after one of them.

        It takes no argument, or the app, and belongs to no unit: what it sends is sent at once.
        `on_leader`: only in the worker that has partition 0. See `Timers` for durable ones.
        """
        declaring.check_called(interval, "its seconds", "@app.timer(10)")
        seconds = milliseconds(interval) / 1000
        if seconds <= 0:
            raise AppError(f"a timer's interval must be at least a millisecond, not {interval!r}")
        return self._chore(f"a timer of {seconds:g} s", seconds, on_leader, traced)

    @overload
    def task(self, function: Function) -> Function: ...
    @overload
    def task(
        self, *, on_leader: bool = ..., traced: bool = ...
    ) -> Callable[[Function], Function]: ...
    @telling("App.task")
    def task(
        self, function: Function | None = None, *, on_leader: bool = False, traced: bool = True
    ) -> Any:
        """Run a function in each worker once it has started. It takes no argument, or the app.

        `on_leader`: only in the worker that has partition 0, as soon as it has. Where traces are
        taken it has a span, unless it is not `traced`.
        """
        declare = self._chore("a task", None, on_leader, traced)
        return declare if function is None else declare(function)

    def service(self, declared: type[S]) -> type[S]:
        """Have a `Service` (a class of it, or one) start and stop with each worker."""
        service = service_of(declared, self)
        self.services.append(service)
        self.chores.append(Chore(service.live))
        return declared

    @overload
    def command(self, *, name: str | None = ..., help: str | None = ...) -> Callable[[C], C]: ...
    @overload
    def command(self, function: C, /) -> C: ...
    @overload
    def command(
        self, *options: Decorator, name: str | None = ..., help: str | None = ...
    ) -> Callable[[C], C]: ...
    @telling("App.command")
    def command(self, *given: Any, name: str | None = None, help: str | None = None) -> Any:
        """Make a function, or a class of `AppCommand`, a command of the app:
        `flowstream -A MODULE NAME ...`.

        Its parameters with their types and defaults are the command's arguments and options; or
        `flowstream.cli.option(...)` and `argument(...)` say these, as click does: `@app.command(
        option("--count", type=int, default=10))`. A first parameter `app` gets the app, `self` an
        `AppCommand`, with `say` and `app`. It may send, and ask agents; it is no worker.
        """
        function, options = given_to(given)

        def declare(function: Any) -> Any:
            command = command_of(function, name, help, options)
            if command.name in self.commands:
                raise AppError(f"command {command.name!r} is declared twice")
            if isinstance(function, type):
                setattr(function, OF_AN_APP, True)
            self.commands[command.name] = command
            return function

        return declare if function is None else declare(function)

    def _chore(
        self, what: str, interval: float | None, on_leader: bool, is_traced: bool
    ) -> Callable[[Function], Function]:
        def declare(function: Function) -> Function:
            takes_app(function, f"{what}, {getattr(function, '__name__', function)!r},")
            name = getattr(function, "__qualname__", what)
            runs = traced(function, name, {}) if is_traced else function
            self.chores.append(Chore(runs, interval, on_leader))
            return function

        return declare
