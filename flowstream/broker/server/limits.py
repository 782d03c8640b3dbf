"""How much memory this process may have, and which share of it connections may hold together."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flowstream.broker.config import BrokerConfig
from flowstream.broker.server.holdings import UNSENT_BYTES

log = logging.getLogger("flowstream.broker")

SHARE = 4
"""Connections may hold a fourth of it."""


def connection_memory(config: BrokerConfig, there_is: int) -> int:
    """What connections may hold together: as set, else their share of what there is; in any case
    one largest request and one largest answer, which may be a single batch of that size.
    """
    largest = config.socket_request_max_bytes
    least = largest + max(largest, config.fetch_max_bytes) + 2 * UNSENT_BYTES
    wanted = config.queued_max_request_bytes
    if 0 < wanted < least:
        log.warning(
            "queued.max.request.bytes=%d is less than one largest request and one largest answer"
            " take (socket.request.max.bytes, fetch.max.bytes): %d is the bound",
            wanted, least,
        )  # fmt: skip
    return max(wanted if wanted > 0 else there_is // SHARE, least)


def memory_there_is(
    groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> int:
    """The machine's memory, or less where a control group (a container's, a unit's) allows less."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *_allowed(groups, mounted)])


def _allowed(groups: Path, mounted: Path) -> list[int]:
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return []  # not Linux
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += _limits(mounted, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(mounted / "memory", path, "memory.limit_in_bytes")
    return found


def _limits(root: Path, path: str, name: str) -> list[int]:
    """The limits of a group and of all above it; in a container its own group may be the root."""
    found = []
    directory = root / path.lstrip("/")
    for each in (directory, *directory.parents):
        if each.is_relative_to(root):
            try:
                text = (each / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # not "max"
                found.append(int(text))
    return found
