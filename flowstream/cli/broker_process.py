"""The life of a broker process: signals, the owner's pipe, `ready HOST:PORT`, a clean end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from flowstream.broker.config import ConfigError
from flowstream.broker.server import bootstrap
from flowstream.broker.server.counters import Counters
from flowstream.broker.server.listener import PortTaken, bind
from flowstream.broker.server.securing import is_loopback
from flowstream.cli.broker_settings import Launch
from flowstream.cli.log_format import start_logging
from flowstream.cli.pipes import say

log = logging.getLogger("flowstream.broker")

OPEN_FILES = 65_536
"""Files and connections that a broker asks the system for, if its hard limit allows: the usual soft
limit of 1,024 is for programs that use select().
"""

PRIVATE = 0o077
"""What the broker writes is for nobody else on the machine: records, and users' keys (X5)."""


def allow_open_files() -> None:
    """Raise the soft limit of open files, never the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(launch: Launch, owner_fd: int | None) -> int:
    """Run the broker that `launch` describes until it is told to end or cannot go on."""
    os.umask(PRIVATE)
    allow_open_files()
    start_logging(launch.log_level, launch.log_format)
    for note in launch.notes:
        log.warning("%s", note)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if owner_fd is not None:
        watch_owner(loop, owner_fd, stop)
    counters = None if launch.metrics_port is None else Counters()
    server = await bootstrap.start(
        launch.data,
        launch.host,
        launch.port,
        launch.config,
        fsync=launch.durability == "fsync",
        insecure_open=launch.insecure_open,
        counters=counters,
        users={} if launch.users is None else read_users(launch.users),
    )
    if server.can_reload or not os.isatty(0):  # else a closed terminal ends its broker, as ever
        loop.add_signal_handler(signal.SIGHUP, server.reload)
    async with AsyncExitStack() as closing:  # the metrics tell of the stop, too
        try:
            if counters is not None:
                await show_metrics(server, counters, launch, closing)
            if owner_fd is None:
                server.tell_address()
            gc.freeze()
            say(f"ready {server.address}")  # an owner that was killed hears of nothing
            log.info("serves %s, data in %s (%s)", server.address, launch.data, launch.durability)
            tell_systemd("READY=1")
            server.ended.add_done_callback(lambda _: stop.set())
            await stop.wait()
            tell_systemd("STOPPING=1")
            log.info("stops")
        finally:
            await server.stop()
    if server.ended.done():
        print(f"flowstream broker: stopped: {server.ended.result()}", file=sys.stderr)
        return 1
    return 0


async def show_metrics(
    server: bootstrap.Server, counters: Counters, launch: Launch, closing: AsyncExitStack
) -> None:
    """Serve metrics and health. They have no authentication: other machines need a word (X7)."""
    from flowstream.broker.server.metrics_door import open_metrics  # not every broker pays for it

    assert launch.metrics_port is not None
    if not (launch.insecure_open or is_loopback(launch.metrics_host)):
        raise ConfigError(
            f"{launch.metrics_host} can be reached from other machines and metrics have no"
            " authentication: use --metrics-host 127.0.0.1, or say --insecure-open"
        )
    try:
        listening = bind(launch.metrics_host, launch.metrics_port)
    except PortTaken as error:
        raise PortTaken(str(error).replace("--port", "--metrics-port")) from error
    door = await open_metrics(server.driver, counters, listening)
    closing.push_async_callback(door.close)


def tell_systemd(state: str) -> None:
    """Tell a service manager that waits for it (Type=notify) how this process is."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name that is no file
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        try:
            notify.sendto(state.encode(), address)
        except OSError as error:
            log.warning("cannot notify %s: %s", address, error)


def read_users(path: Path) -> dict[str, str]:
    """The NAME:PASSWORD lines of a file that only its owner can read. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--users {path}: {getattr(error, 'strerror', error)}") from error
    if mode & PRIVATE:
        raise ConfigError(f"--users {path} can be read by others: chmod 600 {path}")
    users = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not (name and colon and password):
            raise ConfigError(f"--users {path}, line {number}: NAME:PASSWORD is expected")
        users[name] = password
    return users


def watch_owner(loop: asyncio.AbstractEventLoop, fd: int, stop: asyncio.Event) -> None:
    """End when the process that started this one ends: then its end of the pipe closes."""

    def readable() -> None:
        if not os.read(fd, 4096):
            loop.remove_reader(fd)
            stop.set()

    os.set_blocking(fd, False)
    os.set_inheritable(fd, False)
    loop.add_reader(fd, readable)
