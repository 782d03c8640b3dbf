"""How many things one request may name (X4): the loop serves everybody, and each thing costs it
some 10 us.

Pure arithmetic. What is honest grows with what exists: a consumer names every partition it reads
with its topic, an administrator every group.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.wire.api import ApiKey
from flowstream.wire.decoder import ELEMENTS

ELEMENTS_MOST = 1 << 17
"""However much exists."""
CREATION_ELEMENTS = 1 << 15
"""Of CreateTopics: a setting costs less than a topic, and of these there may be TOPICS_MOST."""
TOPICS_MOST = ELEMENTS
"""What one request may create."""


def elements_allowed(cores: Cores, key: int) -> int:
    """The elements that all arrays of a request may have together: some thousands for what does not
    exist yet, and twice what exists, for who names all of it and what it reads no more.
    """
    if key == ApiKey.CREATE_TOPICS:
        return CREATION_ELEMENTS
    logs, groups = cores.logs, cores.groups
    exist = len(logs.by_name) + len(logs.partitions) + len(groups.groups) + len(groups.consumers)
    return min(ELEMENTS + 2 * exist, ELEMENTS_MOST)
