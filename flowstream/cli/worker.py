"""`flowstream worker`: run an app's agents until SIGTERM or Ctrl-C, with a last commit.

Wires app, broker and worker; what a worker does is in `flowstream.processing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import typer

from flowstream.cli import worker_options as options
from flowstream.cli.discovery import AppFailed, find_app
from flowstream.cli.embedded import EmbeddedBroker, embedded_broker
from flowstream.cli.tracebacks import place, without_our_frames
from flowstream.errors import FlowstreamError
from flowstream.processing.app import App
from flowstream.processing.declarations.turning import turned
from flowstream.processing.environment.logs import Output, Sparingly, logging_as
from flowstream.processing.environment.settings import bootstrap_of
from flowstream.processing.errors import AgentFailed, AppExited, DecodeError
from flowstream.processing.running.plan import Plan, Stage
from flowstream.transport.cluster import Cluster
from flowstream.transport.groups import Groups
from flowstream.web.worker import Worker

log = logging.getLogger("flowstream.worker")

EMBEDDED = "embedded://"
GC_THRESHOLDS = (100_000, 50, 50)
HAND_OVER_S = 5.0
"""So long the broker of a worker that stops waits for the others to share what it had."""
REBALANCING = ("PreparingRebalance", "CompletingRebalance")


def command(
    target: options.Target = None,
    module: options.Module = None,
    broker: options.Broker = None,
    data: options.Data = None,
    web_port: options.WebPort = None,
    web_host: options.WebHost = None,
    with_web: options.WithWeb = None,
    web_open: options.WebOpen = False,
    loglevel: options.LogLevel = "info",
    logfile: options.LogFile = None,
    workdir: options.WorkDir = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
    blocking_timeout: options.BlockingTimeout = None,
) -> None:
    """Run an app's agents."""
    if loglevel.upper() not in logging.getLevelNamesMapping():
        raise typer.BadParameter(f"{loglevel!r} is not debug, info, warning or error")
    named = module or target
    if named is None:
        raise typer.BadParameter("name the app: flowstream worker -A module[:app]")
    if module is not None and target is not None:
        raise typer.BadParameter(f"-A {module} names the app: leave {target!r} out")
    output = Output(loglevel, logfile, quiet)
    sparingly = begin_in(workdir, output)
    try:
        app = find_app(named)
        app.configure()
        given = {
            "data_dir": None if data is None else str(data),
            "broker": broker,
            "web_port": web_port,
            "web_host": web_host,
            "web_open": web_open or None,
            "debug": debug or None,
            "stall_warning": blocking_timeout,
        }
        wanted: Any = {name: value for name, value in given.items() if value is not None}
        app.settings = dataclasses.replace(app.settings, **wanted)
        if with_web is not None:
            app.settings = turned("web_enabled", with_web, app, "worker")
        with logging_as(app.settings):
            asyncio.run(work(app, output))
    except FlowstreamError as error:
        end_by(error)
    finally:
        sparingly.flush()


def execute(worker: Worker) -> None:
    """Run a worker that a script has made, as the command line does; exits the process when it
    fails.
    """
    sparingly = begin_in(worker.workdir, worker.tells)
    try:
        with logging_as(worker.app.settings):
            asyncio.run(work(worker.app, worker.tells, worker))
    except FlowstreamError as error:
        try:
            end_by(error)
        except typer.Exit as ended:
            raise SystemExit(ended.exit_code) from None
    finally:
        sparingly.flush()


def begin_in(workdir: Path | None, output: Output) -> Sparingly:
    """Go where the worker is to run, and write its log where it is wanted."""
    try:
        if workdir is not None:
            os.chdir(workdir)
        return output.begin()
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}") from None


def end_by(error: FlowstreamError) -> NoReturn:
    """The end of the process, with the status that docs/guide/worker.md has for it."""
    if isinstance(error, AppExited):
        if isinstance(error.code, int | None):
            log.info("ended: %s", error)
        raise SystemExit(error.code) from None  # as Python: a text is printed, and the status is 1
    log.debug("stopped by", exc_info=error)
    tell(error)
    raise typer.Exit(1) from None


def tell(error: FlowstreamError) -> None:
    """What ended the worker: one line, and the way through the user's own code that led there."""
    cause = error.__cause__
    if isinstance(error, AgentFailed | AppFailed) and cause is not None:
        shown = without_our_frames(cause)
        if shown.__traceback__ is not None and not isinstance(cause, DecodeError):
            who = "the agent" if isinstance(error, AgentFailed) else "the module"
            log.error("%s raised", who, exc_info=shown)
        typer.echo(f"error: {error}", err=True)
        return
    where = place(error)
    typer.echo(f"error: {error}" if where is None else f"error: {where}: {error}", err=True)


async def work(app: App, output: Output, given: Worker | None = None) -> None:
    """Run a worker, the one that is given if any, on the app's broker, starting the embedded one
    where that is meant.
    """
    async with contextlib.AsyncExitStack() as stack:
        place = None if given is None else given.place
        broker = await stack.enter_async_context(broker_of(app, place))
        worker = given or Worker(app)
        if isinstance(broker, EmbeddedBroker):
            worker.be_at(broker.address, lambda: broker.address)
        else:
            worker.be_at(broker)
        worker.logs_already = True
        if app.settings.web_port is not None:
            from flowstream.web.serving import serving  # its libraries take a while to import

            await stack.enter_async_context(serving(worker))
        loop = asyncio.get_running_loop()
        if sys.stderr.isatty():
            from flowstream.cli.restore_bar import watch_restores

            watching = loop.create_task(watch_restores(lambda: worker.restore_progress))
            stack.callback(watching.cancel)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        # What the start has built lives as long as the process: keep the collector off it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            await worker.run(ready=None if output.quiet else lambda: banner(worker, broker))
            if isinstance(broker, EmbeddedBroker) and broker.pid is not None:
                await until_shared(broker.address, app.id)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        log.info("stopped: %s", worker.counts)


def embedded_directory(app: App) -> Path | None:
    """Where the app's embedded broker is kept; None when its broker is another one."""
    named = app.settings.broker or EMBEDDED
    if bootstrap_of(named) is not None:
        return None
    return Path(named.removeprefix(EMBEDDED) or app.settings.data_dir)


@contextlib.asynccontextmanager
async def broker_of(app: App, place: str | None = None) -> AsyncIterator[str | EmbeddedBroker]:
    """HOST:PORT of the app's broker, or the embedded one, for the length of a block; `place` where
    somebody said it.
    """
    if place is not None:
        yield place
        return
    directory = embedded_directory(app)
    if directory is None:
        address = bootstrap_of(str(app.settings.broker))
        assert address is not None
        yield address
        return
    async with embedded_broker(directory) as broker:
        yield broker


async def until_shared(address: str, group: str) -> None:
    """Before our broker ends: the other workers have what was this one's, as long as that takes a
    moment. The next broker would wait for this member's session else, having only read of it.
    """
    cluster = Cluster(address, client_id=f"{group}-stopping")
    try:
        async with asyncio.timeout(HAND_OVER_S):
            await cluster.connect()
            groups = Groups(cluster)
            while (await groups.group(group)).state in REBALANCING:  # noqa: ASYNC110 - others do it
                await asyncio.sleep(HAND_OVER_S / 100)
    except (TimeoutError, FlowstreamError) as error:
        log.debug("the group does not settle: %s", error)
    finally:
        await cluster.close()


def banner(worker: Worker, broker: str | EmbeddedBroker) -> None:
    """What runs here, in a few lines."""
    app, plan = worker.app, worker.plan
    assert plan is not None
    where = f"{broker.address} (embedded)" if isinstance(broker, EmbeddedBroker) else broker
    lines = [
        ("app", app.id),
        ("broker", f"kafka://{where}"),
        ("guarantee", app.settings.processing_guarantee),
        ("data", str(Path(app.settings.data_dir).resolve())),
        ("topics", ", ".join(f"{name} ({n})" for name, n in sorted(plan.sources.items()))),
        ("tables", ", ".join(f"{t.table.name} ({t.partitions})" for t in plan.tables) or "none"),
        ("agents", ", ".join(agent_lines(plan))),
    ]
    if worker.web_address is not None:
        lines.insert(2, ("web", f"http://{worker.web_address}/"))
    typer.echo("flowstream worker", err=True)
    for name, value in lines:
        typer.echo(f"  {name:<10} {value}", err=True)


def agent_lines(plan: Plan) -> list[str]:
    """Every agent and what it reads: topics, and what comes due."""
    found = [agent_line(r.agent.name, r.topic, r.stage) for r in plan.readers]
    for inner in plan.inner:
        if inner.reader.agent.inner is inner.source:
            found.append(agent_line(inner.reader.agent.name, inner.source.name, Stage.WHOLE))
    return found


def agent_line(name: str, topic: str, stage: Stage) -> str:
    """An agent, its topic, and which half of a re-keyed one."""
    part = "" if stage is Stage.WHOLE else f" [{stage.value}]"
    return f"{name}{part} <- {topic}"
