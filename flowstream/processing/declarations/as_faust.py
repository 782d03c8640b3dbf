"""Names of Faust's `App` for what is done otherwise here. A part of `App`."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from flowstream.processing.commit import EXACTLY_ONCE
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import SettingsError
from flowstream.processing.watching import tracing
from flowstream.processing.watching.announcing import Announcing
from flowstream.transport.cluster import Cluster

F = TypeVar("F", bound=Callable[..., Any])


class AsFaust(Announcing):
    """The part of an app that has Faust's names."""

    settings: Settings

    @property
    @abstractmethod
    def conf(self) -> Any:
        """The settings, to be assigned to."""

    @abstractmethod
    async def cluster(self) -> Cluster:
        """A connection to the app's cluster."""

    @property
    def in_transaction(self) -> bool:
        """Whether what an event does commits in a transaction."""
        return self.settings.processing_guarantee == EXACTLY_ONCE

    @property
    def client_only(self) -> bool:
        """Whether no worker runs the app in this process: it sends and asks."""
        return self.worker is None

    @property
    def producer_only(self) -> bool:
        """The same."""
        return self.worker is None

    async def start_client(self) -> None:
        """Connect to the cluster now, and not at the first send; `close` ends it."""
        await self.cluster()

    async def maybe_start_client(self) -> None:
        """Connect, unless a worker of the app has."""
        if self.worker is None:
            await self.cluster()

    async def maybe_start_producer(self) -> None:
        """Connect for what is sent outside of agents."""
        await self.cluster()

    def is_leader(self) -> bool:
        """Whether the app's worker in this process has its first partition."""
        return self.worker is not None and self.worker.is_leader

    @property
    def web_server_url(self) -> str | None:
        """Where the app's worker in this process can be visited."""
        address = None if self.worker is None else self.worker.web_address
        return None if address is None else f"http://{address}"

    def config_from_object(self, obj: Any, *, silent: bool = False, force: bool = False) -> None:
        """Assign settings from the attributes of an object, or of a module that is named. `silent`:
        no error when there is no such module; `force` changes nothing: it is read at once.
        """
        del force
        if isinstance(obj, str):
            try:
                obj = import_module(obj)
            except ModuleNotFoundError as error:
                if silent and error.name is not None and obj.startswith(error.name):
                    return
                raise
        for name, value in vars(obj).items():
            if is_setting(name, value):
                setattr(self.conf, name, value)

    @property
    def tracer(self) -> Any:
        """The tracer of OpenTelemetry, where a provider is set up; else None."""
        return tracing.tracer_now()

    def trace(
        self, name: str, trace_enabled: bool = True, **context: Any
    ) -> AbstractContextManager[Any]:
        """A span around a block, with these attributes; nothing where no provider is set up."""
        return tracing.around(name, context, is_wanted=trace_enabled)

    def traced(
        self, fun: F, operation_name: str | None = None, sample_rate: float = 1.0, **context: Any
    ) -> F:
        """The function, with a span around each call."""
        if sample_rate != 1.0:
            raise SettingsError(
                f"traced(sample_rate={sample_rate!r}): the sampler of the tracer provider says"
                " which spans are kept; leave it out"
            )
        return tracing.traced(fun, operation_name or fun.__qualname__, context)


def is_setting(name: str, value: object) -> bool:
    """Whether an attribute of a module or class may be meant as a setting.

    >>> is_setting("broker", "kafka://here"), is_setting("HERE", 1), is_setting("os", inspect)
    (True, False, False)
    """
    if not name.islower() or name.startswith("_"):
        return False
    return not (isinstance(value, ModuleType) or inspect.isroutine(value) or inspect.isclass(value))
