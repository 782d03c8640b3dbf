"""Values by path, found by directory too: with thousands of files nobody looks at all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Generic, TypeVar

V = TypeVar("V")


class PathMap(Generic[V]):
    """A dict of paths below a data directory, which has one level of directories."""

    def __init__(self) -> None:
        """Empty."""
        self.values: dict[str, V] = {}
        """To be read, and written where the path is known."""
        self._inside: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.values)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __contains__(self, path: str) -> bool:
        return path in self.values

    def add(self, path: str, value: V) -> None:
        """Keep `value` for `path`."""
        if path not in self.values:
            self._inside.setdefault(os.path.dirname(path), set()).add(path)
        self.values[path] = value

    def pop(self, path: str) -> None:
        """Forget `path`, which may be unknown."""
        if path not in self.values:
            return
        del self.values[path]
        directory = os.path.dirname(path)
        siblings = self._inside[directory]
        siblings.discard(path)
        if not siblings:
            del self._inside[directory]

    def inside(self, name: str) -> list[str]:
        """The paths that are `name` or in the directory of that name."""
        own = [name] if name in self.values else []
        return [*own, *sorted(self._inside.get(name, ()))]

    def clear(self) -> None:
        """Forget all."""
        self.values.clear()
        self._inside.clear()
