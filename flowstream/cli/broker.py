"""`flowstream broker`: the integrated broker as a process of its own.

Arguments in, exit status out. Plain argparse and late imports, because start-up time counts: the
first worker waits for it.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

GC_THRESHOLDS = (50_000, 50, 100)
"""Requests make no reference cycles: the cyclic collector is given little to do."""

HOST, PORT = "127.0.0.1", 9092
MOST_PORT = 65_535
BUSY = 75
"""Exit status when directory or port are in use: EX_TEMPFAIL of sysexits.h, worth another try."""
DESCRIPTION = "Run the integrated broker. Prints `ready HOST:PORT` when clients may come."


def port(text: str) -> int:
    """A port number; ValueError for what is none (the system would take it modulo 65536)."""
    number = int(text)
    if not 0 <= number <= MOST_PORT:
        raise ValueError(text)
    return number


def parser() -> argparse.ArgumentParser:
    """The options of `flowstream broker`."""
    options = argparse.ArgumentParser(prog="flowstream broker", description=DESCRIPTION)
    options.add_argument(
        "--data",
        type=Path,
        default=Path(".flowstream/broker"),
        metavar="DIR",
        help="data directory, made when absent (default: %(default)s)",
    )
    options.add_argument("--host", help=f"address to serve ({HOST})")
    options.add_argument("--port", type=port, help=f"port to serve, 0 picks a free one ({PORT})")
    options.add_argument(
        "--durability",
        choices=("fsync", "os"),
        default="fsync",
        help="when a write is acknowledged: on stable storage, or in the page cache (%(default)s)",
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="a broker setting by Kafka's name, e.g. num.partitions=4; may be repeated",
    )
    options.add_argument(
        "--insecure-open",
        action="store_true",
        help="serve an address that other machines reach, without authentication",
    )
    options.add_argument(
        "--users",
        type=Path,
        default=None,
        metavar="FILE",
        help="NAME:PASSWORD lines; who has no password yet gets this one (SCRAM). Mode 0600",
    )
    options.add_argument("--owner-fd", type=int, default=None, metavar="FD", help=argparse.SUPPRESS)
    options.add_argument("-l", "--loglevel", default="warning", help="log level (%(default)s)")
    return options


def run(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, SIGINT or the owner's end; the exit status."""
    options = parser().parse_args(arguments)
    gc.set_threshold(*GC_THRESHOLDS)
    import asyncio

    from flowstream.broker.config import ConfigError
    from flowstream.broker.server.listener import PortTaken
    from flowstream.broker.storage.lock import DirectoryLocked
    from flowstream.cli.broker_process import serve
    from flowstream.errors import FlowstreamError

    try:
        return asyncio.run(serve(options))
    except ConfigError as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return 2
    except (DirectoryLocked, PortTaken) as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return BUSY
    except FlowstreamError as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return 1


def command() -> None:
    """Run the integrated broker by itself."""
    sys.exit(run(()))
