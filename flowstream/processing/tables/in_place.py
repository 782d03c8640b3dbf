"""Operators that change the windows of a key in place: `windowed[key] += 1` and the like; and those
that would take them for a value, which are refused. Pure.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self


class InPlace:
    """What may be done to the value of every window that holds the event."""

    __slots__ = ()

    @abstractmethod
    def apply(self, change: Callable[..., Any], *others: Any) -> Self:
        """Replace each value by `change(value, *others)`."""

    if not TYPE_CHECKING:  # for type checkers there is no such operator

        def _no_value(self, *_: object) -> NoReturn:
            raise TypeError(
                f"{self!r} is all windows of a key, no value: windowed[key].current() is that of"
                " the event's window, .value(at) of another one; `windowed[key] += 1` changes all"
                " that hold the event"
            )

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_value
        __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _no_value
        __pow__ = __rpow__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _no_value
        __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = __round__ = _no_value
        __bool__ = __int__ = __float__ = __index__ = __len__ = __iter__ = _no_value
        __contains__ = __getitem__ = __setitem__ = __delitem__ = _no_value

        def __eq__(self, other: object) -> bool:
            return self is other if isinstance(other, InPlace) else self._no_value()

        __hash__ = object.__hash__

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
