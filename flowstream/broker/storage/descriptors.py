"""Open files by path, a bounded number of them. Knows descriptors only; its owner holds a lock."""

from __future__ import annotations

import os
from collections import OrderedDict


class Descriptors:
    """At most so many; the least recently used one is closed."""

    def __init__(self, limit: int) -> None:
        """None open."""
        self._limit = limit
        self._by_path: OrderedDict[str, int] = OrderedDict()
        self._inside: dict[str, set[str]] = {}
        """Open paths by directory."""
        self._nested: set[str] = set()
        """Directories in directories; a data directory has none."""

    def get(self, path: str) -> int | None:
        """The descriptor of `path`, which is in use now."""
        descriptor = self._by_path.get(path)
        if descriptor is not None:
            self._by_path.move_to_end(path)
        return descriptor

    def look(self, path: str) -> int | None:
        """The descriptor of `path`."""
        return self._by_path.get(path)

    def add(self, path: str, descriptor: int) -> None:
        """Keep `descriptor` for `path`, which has none."""
        self._by_path[path] = descriptor
        directory = os.path.dirname(path)
        self._inside.setdefault(directory, set()).add(path)
        if "/" in directory:
            self._nested.add(directory)
        if len(self._by_path) > self._limit:
            self._close(next(iter(self._by_path)))

    def forget(self, path: str) -> None:
        """Close the descriptors of `path` and of all in it."""
        if path in self._by_path:
            self._close(path)
        nested = [each for each in self._nested if each.startswith(path + "/")]
        for directory in (path, *nested):
            for each in list(self._inside.get(directory, ())):
                self._close(each)

    def close(self) -> None:
        """Close them all."""
        for path in list(self._by_path):
            self._close(path)

    def _close(self, path: str) -> None:
        os.close(self._by_path.pop(path))
        directory = os.path.dirname(path)
        siblings = self._inside[directory]
        siblings.discard(path)
        if not siblings:
            del self._inside[directory]
            self._nested.discard(directory)
