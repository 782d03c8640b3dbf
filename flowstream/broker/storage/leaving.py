"""Directories that nobody needs any more: in the background each gets another name, durably, and is
deleted. Whoever wants the name before waits for the first half.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from threading import Lock

from flowstream.broker.doors import MakeDirectory, Operation
from flowstream.broker.storage.calls import named
from flowstream.broker.storage.entries import NewEntries
from flowstream.broker.storage.jobs import Jobs

TOGETHER = 64
"""Directories that are renamed with one sync of the root. Each such job ends soon: a stop does not
wait for the others (V4)."""


class Leaving:
    """They wait here by name. Belongs to the loop's thread but for its jobs."""

    def __init__(self, root: str, entries: NewEntries, names: Lock, jobs: Jobs) -> None:
        """`names` is held while names come and go."""
        self._root = root
        self._entries = entries
        self._names = names
        self._jobs = jobs
        self._targets: dict[str, str] = {}
        """What the directories are to be called; here until that is durable."""
        self._new: list[str] = []

    def add(self, path: str, target: str) -> None:
        """Let a directory go, which may not be there."""
        self._targets[path] = target
        self._new.append(path)

    def holds(self, path: str) -> bool:
        """Whether the directory of this name is about to go. Any thread may ask."""
        return path in self._targets

    def begin(self) -> None:
        """Start with those that were added."""
        if not self._new:
            return
        new, self._new = self._new, []
        for at in range(0, len(new), TOGETHER):
            self._jobs.do(self._leave, new[at : at + TOGETHER])

    def make_room(self, operations: Sequence[Operation]) -> None:
        """The directories that `operations` make are others than those of their names before."""
        if self._targets:
            made = {each.path for each in operations if isinstance(each, MakeDirectory)}
            self.free(made & self._targets.keys())

    def free(self, paths: Collection[str]) -> None:
        """Let these go now, durably."""
        for target in self._rename(paths) if paths else ():
            self.remove(target)

    def remove(self, path: str) -> None:
        """Delete the directory `path`, whose name is not used again."""
        self._jobs.do(self._remove_tree, path)

    def finish(self) -> None:
        """Let go of all names; what is still there of the directories stays."""
        self._rename(list(self._targets))

    def _leave(self, paths: Collection[str]) -> None:
        for target in self._rename(paths):
            self._remove_tree(target)

    def _rename(self, paths: Collection[str]) -> list[str]:
        """The new names of those that had their own still."""
        with self._names:
            moved = {each: self._targets[each] for each in paths if each in self._targets}
            for path, target in moved.items():
                # Never made, or renamed by a run that crashed after it.
                with named(path), suppress(FileNotFoundError):
                    os.rename(self._root + path, self._root + target)
                self._entries.forget(path)
            if moved:
                self._entries.sync("")
            for path in moved:
                del self._targets[path]
            return list(moved.values())

    def _remove_tree(self, path: str) -> None:
        with named(path), suppress(FileNotFoundError):
            shutil.rmtree(self._root + path)
