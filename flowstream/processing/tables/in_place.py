"""Operators that change the windows of a key in place: `windowed[key] += 1` and the like. Pure."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self


class InPlace:
    """What may be done to the value of every window that holds the event."""

    __slots__ = ()

    @abstractmethod
    def apply(self, change: Callable[..., Any], *others: Any) -> Self:
        """Replace each value by `change(value, *others)`."""

    def __iadd__(self, other: Any) -> Self:
        return self.apply(operator.add, other)

    def __isub__(self, other: Any) -> Self:
        return self.apply(operator.sub, other)

    def __imul__(self, other: Any) -> Self:
        return self.apply(operator.mul, other)

    def __itruediv__(self, other: Any) -> Self:
        return self.apply(operator.truediv, other)

    def __ifloordiv__(self, other: Any) -> Self:
        return self.apply(operator.floordiv, other)

    def __imod__(self, other: Any) -> Self:
        return self.apply(operator.mod, other)

    def __ipow__(self, other: Any) -> Self:
        return self.apply(operator.pow, other)

    def __ilshift__(self, other: Any) -> Self:
        return self.apply(operator.lshift, other)

    def __irshift__(self, other: Any) -> Self:
        return self.apply(operator.rshift, other)

    def __iand__(self, other: Any) -> Self:
        return self.apply(operator.and_, other)

    def __ixor__(self, other: Any) -> Self:
        return self.apply(operator.xor, other)

    def __ior__(self, other: Any) -> Self:
        return self.apply(operator.or_, other)
