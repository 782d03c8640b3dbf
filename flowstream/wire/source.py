"""Python source under construction, and the values it refers to: what both compilers of messages
write on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """Lines of one generated module; `scope` holds the constants that the lines name."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope
        self._lines: list[str] = []
        self._depth = 0
        self._names = 0

    def line(self, text: str) -> None:
        """Add one line at the current depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head` and indent what follows inside the `with`."""
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def fresh(self, prefix: str) -> str:
        """A variable name not used before."""
        self._names += 1
        return f"{prefix}{self._names}"

    def constant(self, value: object) -> str:
        """A name for `value` in the generated code."""
        if value is None or isinstance(value, bool | int | str | bytes) or value == ():
            return repr(value)
        name = self.fresh("K")
        self.scope[name] = value
        return name

    def text(self) -> str:
        """The source so far."""
        return "\n".join(self._lines) + "\n"

    def function(self, name: str, filename: str) -> Callable[..., Any]:
        """Compile, run, and return the function `name` that the source defines."""
        exec(compile(self.text(), filename, "exec"), self.scope)
        made: Callable[..., Any] = self.scope[name]
        return made
