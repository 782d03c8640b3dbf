"""Ports for a broker that may pick one, so that its successor can have the same port again; and how
an address is written.

The kernel gives outgoing connections ports of its ephemeral range. A client on the same machine
that keeps connecting to a dead broker's port in that range is given that very port one day,
connects to itself and holds it. So a port is chosen below the range.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

LOWEST = 15_000
EPHEMERAL_FROM = 32_768
"""Where the range begins when the system does not say (Linux's default)."""

ATTEMPTS = 50


def written(host: str, port: int) -> str:
    """An address as clients take it.

    >>> written("::1", 9092), written("localhost", 9092)
    ('[::1]:9092', 'localhost:9092')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ephemeral_from() -> int:
    """The first port that outgoing connections may be given."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        return int(text.split()[0])
    except (OSError, ValueError, IndexError):
        return EPHEMERAL_FROM


def candidates(rng: random.Random, first_ephemeral: int) -> Iterator[int]:
    """Ports to try in turn; 0, the system's choice, is the last."""
    if first_ephemeral > LOWEST:
        for _ in range(ATTEMPTS):
            yield rng.randrange(LOWEST, first_ephemeral)
    yield 0
