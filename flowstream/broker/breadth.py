"""How many things one request may name (X4): the loop serves everybody, and each thing costs it
some 10 us.

Pure arithmetic. What is honest grows with what exists: a consumer names every partition it reads
with its topic, an administrator every group.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.wire.decoder import ELEMENTS

ELEMENTS_MOST = 1 << 17
"""However much exists."""


def elements_allowed(cores: Cores) -> int:
    """The elements that all arrays of a request may have together: some thousands for what does not
    exist yet, and twice what exists, for who names all of it and what it reads no more.
    """
    logs, groups = cores.logs, cores.groups
    exist = len(logs.by_name) + len(logs.partitions) + len(groups.groups) + len(groups.consumers)
    return min(ELEMENTS + 2 * exist, ELEMENTS_MOST)
