"""The life of a broker process: settings, signals, the owner's pipe, `ready HOST:PORT`, a clean
end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.server import bootstrap
from flowstream.cli.broker import HOST, PORT

log = logging.getLogger("flowstream.broker")

PRIVATE = 0o077
"""What the broker writes is for nobody else on the machine: records, and users' keys (X5)."""


async def serve(options: argparse.Namespace) -> int:
    """Run the broker that `options` describe until it is told to end or cannot go on."""
    os.umask(PRIVATE)
    start_logging(options.loglevel)
    config = BrokerConfig.of(settings_of(options.settings))
    if config.listeners and (options.host is not None or options.port is not None):
        raise ConfigError("`listeners` says where to listen: leave --host and --port out")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.owner_fd is not None:
        watch_owner(loop, options.owner_fd, stop)
    server = await bootstrap.start(
        options.data,
        options.host or HOST,
        PORT if options.port is None else options.port,
        config,
        fsync=options.durability == "fsync",
        insecure_open=options.insecure_open,
        users={} if options.users is None else read_users(options.users),
    )
    gc.freeze()
    print(f"ready {server.address}", flush=True)
    server.ended.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await server.stop()
    if server.ended.done():
        print(f"flowstream broker: stopped: {server.ended.result()}", file=sys.stderr)
        return 1
    return 0


def settings_of(pairs: Sequence[str]) -> dict[str, str]:
    """The KEY=VALUE pairs of --set. Raises ConfigError."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {pair}: KEY=VALUE is expected, e.g. --set num.partitions=4")
        settings[key.strip()] = value.strip()
    return settings


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


def start_logging(level: str) -> None:
    """Log to standard error. Raises ConfigError for a level that does not exist."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"--loglevel {level}: one of debug, info, warning, error is expected")
    logging.basicConfig(
        level=number, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def watch_owner(loop: asyncio.AbstractEventLoop, fd: int, stop: asyncio.Event) -> None:
    """End when the process that started this one ends: then its end of the pipe closes."""

    def readable() -> None:
        if not os.read(fd, 4096):
            loop.remove_reader(fd)
            stop.set()

    os.set_blocking(fd, False)
    os.set_inheritable(fd, False)
    loop.add_reader(fd, readable)
