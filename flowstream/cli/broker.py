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

BUSY = 75
"""Exit status when the directory is in use: EX_TEMPFAIL of sysexits.h, worth another try."""
PORT_TAKEN = 69
"""Exit status when a port is in use: EX_UNAVAILABLE of sysexits.h."""
EPILOG = """\
Of two settings the first of these wins: command line, --set, FLOWSTREAM_BROKER_<NAME> in the
environment (FLOWSTREAM_BROKER_NUM_PARTITIONS=4), the file of --config, the default.
"""
DESCRIPTION = "Run the integrated broker. Prints `ready HOST:PORT` when clients may come."


def port(text: str) -> int:
    """A port number; ValueError for what is none."""
    from flowstream.cli.broker_settings import port_of

    return port_of(text)


def parser() -> argparse.ArgumentParser:
    """The options of `flowstream broker`. None: not given, the file or the default counts."""
    options = argparse.ArgumentParser(
        prog="flowstream broker",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--config", type=Path, metavar="FILE", help="settings: a .toml file, or a server.properties"
    )
    options.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data directory, made when absent (default: .flowstream/broker)",
    )
    options.add_argument("--host", help="address to serve (default: 127.0.0.1)")
    options.add_argument(
        "--port", type=port, help="port to serve, 0 picks a free one (default: 9092)"
    )
    options.add_argument(
        "--durability",
        choices=("fsync", "os"),
        help="when a write is acknowledged: on stable storage (default), or in the page cache",
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
        default=None,
        help="serve an address that other machines reach, without authentication",
    )
    options.add_argument(
        "--list-settings", action="store_true", help="print every setting with its default, and end"
    )
    options.add_argument(
        "--users",
        type=Path,
        default=None,
        metavar="FILE",
        help="NAME:PASSWORD lines; who has no password yet gets this one (SCRAM). Mode 0600",
    )
    options.add_argument("--owner-fd", type=int, default=None, metavar="FD", help=argparse.SUPPRESS)
    add_watching(options)
    return options


def add_watching(options: argparse.ArgumentParser) -> None:
    """The options for those who watch a broker: its log and its metrics."""
    options.add_argument(
        "-l",
        "--log-level",
        "--loglevel",
        type=str.lower,
        choices=("debug", "info", "warning", "error", "critical"),
        help="least severity that is logged (default: warning)",
    )
    options.add_argument(
        "--log-format",
        choices=("text", "json"),
        help="lines for people (default), or one JSON object a line",
    )
    options.add_argument(
        "--metrics-port",
        type=port,
        metavar="PORT",
        help="serve /metrics (Prometheus) and /health over HTTP; 0 picks a free port",
    )
    options.add_argument(
        "--metrics-host", metavar="HOST", help="address of the metrics (default: 127.0.0.1)"
    )


def run(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM, SIGINT or the owner's end; the exit status."""
    options = parser().parse_args(arguments)
    gc.set_threshold(*GC_THRESHOLDS)
    import asyncio
    import os

    from flowstream.broker.config import ConfigError
    from flowstream.broker.server.listener import PortTaken
    from flowstream.broker.storage.lock import DirectoryLocked
    from flowstream.cli.broker_process import serve
    from flowstream.cli.broker_settings import launch_of, settings_text
    from flowstream.cli.pipes import say
    from flowstream.errors import FlowstreamError

    if options.list_settings:
        say(settings_text())
        return 0
    try:
        return asyncio.run(serve(launch_of(options, os.environ), options.owner_fd))
    except ConfigError as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return 2
    except DirectoryLocked as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return BUSY
    except PortTaken as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return PORT_TAKEN
    except FlowstreamError as error:
        print(f"flowstream broker: {error}", file=sys.stderr)
        return 1


def command() -> None:
    """Run the integrated broker by itself."""
    sys.exit(run(()))
