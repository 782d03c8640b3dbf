"""Services: objects of the user's that live beside the agents for as long as a worker does.

Shell. A service belongs to no unit: what it sends is sent at once. Faust's names.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, ClassVar, TypeVar

from flowstream.processing.errors import AppError, AppExited

Work = Callable[[Any], Coroutine[Any, Any, None]]
W = TypeVar("W", bound=Work)

_INTERVAL = "_flowstream_service_interval"


class ServiceLog(logging.LoggerAdapter[logging.Logger]):
    """A log in which each line begins with the name of a service."""

    def __init__(self, logger: logging.Logger, service: str) -> None:
        super().__init__(logger, {})
        self._service = service

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        """The line, with the name before it."""
        return f"[{self._service}] {msg}", kwargs

    def warn(self, msg: object, *args: object, **options: Any) -> None:
        """As `warning`."""
        self.warning(msg, *args, **options)

    def crit(self, msg: object, *args: object, **options: Any) -> None:
        """As `critical`."""
        self.critical(msg, *args, **options)


class Service:
    """Something that starts with a worker and stops with it; override what you need.

    `@Service.task` marks methods that run from its start on, `@Service.timer(seconds)` those that
    run ever again. What one of them raises is the worker's error.
    """

    app: Any = None
    """The app, once it is declared with `@app.service`."""
    _tasks: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = [name for name, value in vars(cls).items() if hasattr(value, _INTERVAL)]
        cls._tasks = tuple(dict.fromkeys([*cls._tasks, *own]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'started' if self.started else 'stopped'})"

    # -- to override ----------------------------------------------------------------------------

    async def on_first_start(self) -> None:
        """Before its first start."""

    async def on_start(self) -> None:
        """Before its tasks begin."""

    async def on_started(self) -> None:
        """When its tasks have begun."""

    async def on_stop(self) -> None:
        """Before its tasks are ended."""

    async def on_shutdown(self) -> None:
        """When its tasks have ended."""

    async def on_restart(self) -> None:
        """Between the stop and the start of a restart."""

    @property
    def label(self) -> str:
        """How the log names it: its class, unless overridden."""
        return type(self).__name__

    # -- to use ---------------------------------------------------------------------------------

    @staticmethod
    def task(function: W) -> W:
        """Have a method run from the service's start on, once."""
        return _marked(function, None)

    @staticmethod
    def timer(interval: float) -> Callable[[W], W]:
        """Have a method run every `interval` seconds, the first time one interval after the start.

        As in Faust the pauses do not drift.
        """
        if not interval > 0:
            raise AppError(f"Service.timer takes a number of seconds above 0, not {interval!r}")
        return lambda function: _marked(function, interval)

    started = False
    """Whether it runs."""
    _was_started = False
    _running: set[asyncio.Task[Any]] | None = None
    _stopping: asyncio.Event | None = None
    _failure: asyncio.Future[None] | None = None

    @property
    def log(self) -> ServiceLog:
        """Python's logger of the module of its class, with the service's name in each line."""
        return ServiceLog(logging.getLogger(type(self).__module__), self.label)

    @property
    def should_stop(self) -> bool:
        """True from the moment it is to stop."""
        return self._stopping is None or self._stopping.is_set()

    async def sleep(self, seconds: float) -> None:
        """Pause; returns at once when the service is to stop."""
        if self._stopping is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
            except TimeoutError:
                return

    async def wait_until_stopped(self) -> None:
        """Until it is to stop."""
        if self._stopping is not None:
            await self._stopping.wait()

    def add_future(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run this too, until it ends or the service does; its error is the worker's."""
        if self._running is None:
            if isinstance(work, Coroutine):
                work.close()
            raise AppError(f"{self!r} does not run: it cannot run anything beside itself")

        async def awaited() -> Any:
            try:
                return await work
            except SystemExit as asked:
                raise AppExited(f"service {type(self).__name__}", asked) from None

        task = asyncio.ensure_future(awaited())
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def start(self) -> None:
        """Start, unless it runs already."""
        if self.started:
            return
        self._stopping = asyncio.Event()
        self._running = set()
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
        if not self._was_started:
            self._was_started = True
            await self.on_first_start()
        await self.on_start()
        self.started = True
        for name in self._tasks:
            method = getattr(self, name)
            interval = getattr(method, _INTERVAL)
            self.add_future(method() if interval is None else self._every(interval, method))
        await self.on_started()

    async def stop(self) -> None:
        """Stop, unless it does not run. One of its own tasks that asks for it ends with it."""
        asking = await self._stop()
        if asking is not None:
            asking.cancel()

    async def restart(self) -> None:
        """Stop and start. One of its own tasks that asks for it goes on; of a timer it is the last
        run, as there is another.
        """
        asking = await self._stop()
        await self.on_restart()
        await self.start()
        if asking is not None and self._running is not None:
            self._running.add(asking)

    async def _stop(self) -> asyncio.Task[Any] | None:
        """Stop; gives the task that asks for it, where that is one of its own and goes on."""
        # Also where it could not start: what it had begun ends with it.
        if self._running is None or self._stopping is None:
            return None
        was_started, self.started = self.started, False
        self._stopping.set()
        asking = asyncio.current_task()
        try:
            if was_started:
                await self.on_stop()
        finally:
            running, self._running = self._running, None
            others = running - {asking}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others)
        if was_started:
            await self.on_shutdown()
        return asking if asking in running else None

    async def live(self) -> None:
        """Run until cancelled; raises what one of its tasks raised."""
        try:
            await self.start()
            assert self._failure is not None
            await self._failure
        except SystemExit as asked:
            raise AppExited(f"service {type(self).__name__}", asked) from None
        finally:
            await self.stop()
            self._failure = None

    async def _every(self, interval: float, method: Callable[[], Awaitable[None]]) -> None:
        clock, stopping = asyncio.get_running_loop().time, self._stopping
        due = clock()
        while self._stopping is stopping:
            due = max(due + interval, clock())
            await self.sleep(due - clock())
            if self.should_stop:
                return
            await method()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self._running is not None:
            self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)


def _marked(function: W, interval: float | None) -> W:
    if not inspect.iscoroutinefunction(function):
        raise AppError(f"{function!r} must be an `async def` method to be a service's task")
    setattr(function, _INTERVAL, interval)
    return function


def service_of(declared: type[Service] | Service, app: object) -> Service:
    """The service that was declared, with the app."""
    service = declared() if isinstance(declared, type) else declared
    if not isinstance(service, Service):
        raise AppError(f"app.service takes a subclass of fs.Service, not {declared!r}")
    service.app = app
    return service
