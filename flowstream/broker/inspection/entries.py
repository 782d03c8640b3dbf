"""A file to explain, and the entry that says something in it does not fit."""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.cores import METADATA_LOG
from flowstream.broker.doors import Storage
from flowstream.broker.inspection.words import Words
from flowstream.broker.log import names


class File(NamedTuple):
    """A file to explain: its path, its name without the suffix of one on its way out or in, its
    size.
    """

    storage: Storage
    path: str
    name: str
    size: int

    @property
    def topic(self) -> str:
        """The topic whose partition the file belongs to."""
        if self.name.endswith(names.CHECKPOINT):
            return METADATA_LOG.topic
        return self.path.rpartition("/")[0].rpartition("/")[2].rpartition("-")[0]

    @property
    def base_offset(self) -> int:
        """The offset in the name."""
        digits = self.name.partition(".")[0].partition("-")[0]
        return int(digits) if digits.isascii() and digits.isdigit() else 0

    def content(self) -> memoryview:
        """All of it: only of files that are small."""
        return self.storage.read(self.path, 0, self.size)


def problem(what: str, **where: object) -> Words:
    """Something that does not fit."""
    return {"kind": "problem", "what": what, **where}
