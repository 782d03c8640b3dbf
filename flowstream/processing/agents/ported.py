"""What an agent has by Faust's names, in terms of our own. Pure."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any


class PortedNames:
    """The part of an agent that has another name here, or is always so."""

    channel: Any
    """What it reads."""

    isolated_partitions = True
    """Partitions never share an instance."""

    @cached_property
    def help(self: Any) -> str:
        """What its docstring says."""
        return inspect.getdoc(self.function) or ""

    @property
    def by_pattern(self: Any) -> bool:
        """Whether it reads any topic that matches."""
        return any(topic.pattern is not None for topic in self.topics)

    def get_topic_names(self: Any) -> list[str]:
        """The names of the topics that it reads."""
        return [topic.name for topic in self.topics]
