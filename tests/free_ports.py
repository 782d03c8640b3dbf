"""Ports for programs that must be told one: below those that the kernel gives to outgoing
connections, or one of these has taken it before the program listens.
"""

from __future__ import annotations

import random
import socket

from flowstream.broker.server.ports import LOWEST, ephemeral_from

ATTEMPTS = 200


def free_ports(count: int) -> list[int]:
    """So many ports in a row on which nobody listens."""
    rng = random.Random()
    for _ in range(ATTEMPTS):
        first = rng.randrange(LOWEST, ephemeral_from() - count)
        ports = list(range(first, first + count))
        if all(map(_is_free, ports)):
            return ports
    raise RuntimeError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
