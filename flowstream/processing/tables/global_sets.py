"""Tables of sets that every worker holds whole: rows as of a SetTable, places as of a GlobalTable.

Pure.
"""

from __future__ import annotations

from typing import Any, TypeVar

from flowstream.processing.tables.replicated import GlobalTable
from flowstream.processing.tables.set_tables import MemberRows, SetTable

K = TypeVar("K")
M = TypeVar("M")


class GlobalMemberRows(MemberRows, GlobalTable[Any, bytes]):
    """The rows below a SetGlobalTable."""

    def topic_key(self, row: bytes) -> bytes:
        """Of a member's row the key of its set: all members are where the key is."""
        return self.key_codec.encode(self.row_keys.decode(row)[0])


class SetGlobalTable(SetTable[K, M]):
    """A mapping from keys to sets that every worker holds whole: read any key's set, change those
    of keys that belong to the event's partition. Another partition's are read as they are
    committed, a moment later.
    """

    def __repr__(self) -> str:
        return f"SetGlobalTable({self.name!r})"
