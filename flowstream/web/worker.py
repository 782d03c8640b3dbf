"""The worker that serves its pages, metrics and queries while it runs: `fs.Worker`."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, TypedDict, Unpack

from flowstream.processing import worker
from flowstream.processing.app import App
from flowstream.processing.duties.following import Address
from flowstream.processing.environment.doors import Doors
from flowstream.processing.environment.logs import Output, level_of, logging_as
from flowstream.processing.environment.settings import bootstrap_of
from flowstream.processing.errors import AppError
from flowstream.processing.group.committer import Checkpoint
from flowstream.processing.instead import telling
from flowstream.processing.values.durations import Seconds
from flowstream.processing.watching.sensors import Sensor

log = logging.getLogger("flowstream.worker")

COMMAND_LINE = "flowstream.cli.worker"
"""It stands above: a worker knows its name only."""


class WorkerOptions(TypedDict, total=False):
    """What a worker may be told beside its app and place; see `Worker`."""

    data_dir: str | Path | None
    checkpoint: Checkpoint
    clock: Callable[[], int]
    address: Address | None
    doors: Doors


class Worker(worker.Worker):
    """Runs one app against one cluster (HOST:PORT; without one, that of `App(broker=)`). Use `run`,
    and `stop` from anywhere; or `running`; or in a script `execute_from_commandline`.

    `address` tells where the cluster is now, when it may end and come back elsewhere as the
    embedded broker does: the worker then waits for it and follows. `sensors` join the app's.
    `loglevel`, `logfile`, `quiet` and `workdir` are as for `flowstream worker`; `debug`,
    `blocking_timeout`, `logging_config` and `redirect_stdouts` are settings of the app.
    """

    @telling("Worker", also=WorkerOptions.__optional_keys__)
    def __init__(
        self,
        app: App,
        bootstrap: str | None = None,
        *,
        sensors: Sequence[Sensor] = (),
        loglevel: str | int | None = None,
        logfile: str | Path | TextIO | None = None,
        quiet: bool = False,
        workdir: str | Path | None = None,
        debug: bool = False,
        blocking_timeout: Seconds | None = None,
        logging_config: Mapping[str, Any] | None = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: str | int | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        said = {
            "debug": debug or None,
            "stall_warning": blocking_timeout or None,
            "logging_config": logging_config,
            "worker_redirect_stdouts": redirect_stdouts,
            "worker_redirect_stdouts_level": redirect_stdouts_level,
        }
        for name, value in said.items():
            if value is not None:
                setattr(app.conf, name, value)
        super().__init__(app, bootstrap or "", sensors=sensors, **options)
        self.tells = Output(loglevel or "info", logfile, quiet)
        level_of(self.tells.loglevel)
        self.workdir = Path(workdir or ".").absolute()
        self._moves = workdir is not None
        asked = (loglevel, logfile, quiet or None, logging_config, redirect_stdouts)
        self.logs_already = asked == (None,) * 5
        """Nothing was said of its log, or somebody has seen to it."""

    def be_at(self, bootstrap: str, address: Address | None = None) -> None:
        """Where the cluster is, before `run`."""
        self._bootstrap = self._cluster.bootstrap = bootstrap
        self._address = address

    @property
    def place(self) -> str | None:
        """Where the cluster is, if that was said."""
        return self._bootstrap or None

    def _find(self) -> None:
        """Where the cluster is, by the settings where nobody said it."""
        if not self._bootstrap:
            found = bootstrap_of(self.settings.broker or "embedded://")
            if found is None:
                raise AppError(
                    "a worker that is run by a program starts no embedded broker: say where one is,"
                    " fs.Worker(app, 'HOST:PORT') or App(broker=); `execute_from_commandline()` and"
                    " `flowstream worker` do start it"
                )
            self.be_at(found)

    def change_workdir(self, path: str | Path) -> None:
        """Go to this directory, now."""
        self.workdir = Path(path)
        os.chdir(path)

    def autodiscover(self) -> list[str]:
        """Import what the app's `autodiscover=` names."""
        return self.app.discover()

    def execute_from_commandline(self) -> None:
        """Run in a script as `flowstream worker` does: with its log, its signals and, where no
        broker is named, the embedded one; exits the process when that fails.
        """
        import_module(COMMAND_LINE).execute(self)

    async def run(self, *, ready: Callable[[], None] | None = None) -> None:
        """Run until `stop`, or raise what made it impossible.

        `ready` is called when everything is checked and before the worker joins its group.
        """
        with contextlib.ExitStack() as stack:
            if not self.logs_already:
                stack.callback(self.tells.begin().flush)
                stack.enter_context(logging_as(self.settings))
            if self._moves:
                self.change_workdir(self.workdir)
            self._find()
            await super().run(ready=ready)

    def _served(self) -> AbstractAsyncContextManager[object]:
        """Its web server where `web_port` wants one, unless somebody serves it already."""
        if self.settings.web_port is None:
            if self.app.pages:
                log.warning("the app has pages and no web_port: nobody can visit them")
            return nullcontext()
        if self.web_address is not None:
            return nullcontext()
        from flowstream.web.serving import serving  # its libraries take a while to import

        return serving(self)
