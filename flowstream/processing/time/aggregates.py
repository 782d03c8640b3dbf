"""Aggregates of a window: how a value joins, how two halves merge, and what is told in the end.

Pure. An accumulator is a value of a declared type that is never changed in place: what a unit read
may be read again by the next one when that unit fails.
"""

from __future__ import annotations

import datetime
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from flowstream.processing.declaring import check_callable, described
from flowstream.processing.errors import AppError
from flowstream.processing.values.codecs import Codec, codec_of
from flowstream.processing.values.fields import UNKNOWN, by, check_field, none_is
from flowstream.processing.values.round_trips import check_kept

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

_NOT_SUMMED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, datetime.date)
"""Types that have a `+`, which makes no sum of them."""

Field = str | Callable[[Any], Any]
"""An attribute's (or a dict key's) name, or a function of the value."""


def reader(field: Field | None) -> Callable[[Any], Any]:
    """What an aggregate looks at in a value."""
    if field is None:
        return lambda value: value
    return by(field, "an aggregate")


class Aggregate(Generic[R]):
    """What a window keeps of its values, as an accumulator of type `kept`."""

    kept: Any = Any
    """The accumulator's type; it is stored as a table's value of that type is."""

    is_foreign = False
    """Whether a function of the user's gets accumulators."""

    def bind(self, values: Codec[Any]) -> None:
        """Learn how the stream's values are encoded (before anything else is asked)."""
        del values

    def check(self, kind: Any, what: str) -> None:
        """AppError when values of this type can never be aggregated so."""
        del kind, what

    @abstractmethod
    def first(self, value: Any) -> Any:
        """The accumulator of one value."""

    def add(self, kept: Any, value: Any) -> Any:
        """The accumulator with one more value."""
        return self.merge(kept, self.first(value))

    @abstractmethod
    def merge(self, kept: Any, other: Any) -> Any:
        """Two accumulators in one, the earlier first."""

    def result(self, kept: Any) -> R:
        """What is told."""
        return kept  # type: ignore[no-any-return]


class Count(Aggregate[int]):
    """How many values.

    >>> Count().add(2, "x")
    3
    """

    kept = int

    def first(self, value: Any) -> int:
        """One."""
        del value
        return 1

    def merge(self, kept: int, other: int) -> int:
        """Their sum."""
        return kept + other


class _Reading(Aggregate[R]):
    """An aggregate of a field."""

    def __init__(self, field: Field | None = None) -> None:
        self._field = field
        self._read = reader(field)

    def _fits(self, kind: type) -> bool:
        """Whether this can be made of fields of a type."""
        del kind
        return True

    _wanted = ""
    """What fits, and what to do with what does not."""

    def check(self, kind: Any, what: str) -> None:
        """See `Aggregate.check`: whether there is such a field, of a type that fits."""
        named = repr(self._field) if isinstance(self._field, str) else ""
        self._check_type(self._type(kind, what), f"{what}: {self.__class__.__name__}({named})")

    def _type(self, kind: Any, what: str) -> Any:
        if self._field is None:
            return kind
        if not isinstance(self._field, str):
            return UNKNOWN
        return check_field(kind, self._field, f"{what}: {self.__class__.__name__}({self._field!r})")

    def _check_type(self, found: Any, what: str) -> None:
        if refused := none_is(found, self._fits):
            raise AppError(f"{what} would be of values of type {refused}: {self._wanted}")


class _OfField(_Reading[R]):
    def __init__(self, field: Field | None = None, *, type: Any = None) -> None:
        super().__init__(field)
        self.kept = Any if type is None else type

    def _check_type(self, found: Any, what: str) -> None:
        super()._check_type(found, what)
        if self.kept is not Any:
            return
        if refused := none_is(found, lambda kind: issubclass(kind, int | float | str)):
            raise AppError(
                f"{what} over {refused} must say so, for its state to be read again as what it was:"
                f" type={refused}"
            )

    def first(self, value: Any) -> Any:
        found = self._read(value)
        if self.kept is Any and not isinstance(found, int | float | str):
            raise TypeError(
                f"{self.__class__.__name__} over {found.__class__.__name__} must say so, for its"
                f" state to be read again as what it was: type={found.__class__.__name__}"
            )
        return found


class Sum(_OfField[Any]):
    """The sum of a field. `type=` for other numbers than int and float, e.g. Decimal."""

    _wanted = "a sum is of numbers; collect() keeps all values, reduce() makes one of two"

    def _fits(self, kind: type) -> bool:
        return hasattr(kind, "__add__") and not issubclass(kind, _NOT_SUMMED)

    def merge(self, kept: Any, other: Any) -> Any:
        """Their sum."""
        return kept + other


class Min(_OfField[Any]):
    """The least value of a field; the first of equal ones."""

    def merge(self, kept: Any, other: Any) -> Any:
        """The lesser."""
        return min(kept, other)


class Max(_OfField[Any]):
    """The greatest value of a field; the first of equal ones."""

    def merge(self, kept: Any, other: Any) -> Any:
        """The greater."""
        return max(kept, other)


class Mean(_Reading[float]):
    """The arithmetic mean of a field."""

    kept = tuple[float, int]
    _wanted = "a mean is of numbers; give a function that makes one of the value"

    def _fits(self, kind: type) -> bool:
        return hasattr(kind, "__float__") or hasattr(kind, "__index__")

    def first(self, value: Any) -> tuple[float, int]:
        """Sum and number of one value."""
        return (float(self._read(value)), 1)

    def merge(self, kept: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
        """Sums and numbers added."""
        return (kept[0] + other[0], kept[1] + other[1])

    def result(self, kept: tuple[float, int]) -> float:
        """The quotient."""
        return kept[0] / kept[1]


class Collect(_Reading[list[Any]]):
    """Every value (or a field of it, of `type`), in the order of arrival.

    All of a window's values are one row: its changelog bounds them (1 MB by default).
    """

    kept = tuple[Any, ...]

    def __init__(self, field: Field | None = None, *, type: Any = None) -> None:
        super().__init__(field)
        self._whole = field is None
        self._codec: Codec[Any] | None = None if type is None else codec_of(type)

    def check(self, kind: Any, what: str) -> None:
        """Whole values must come back as they were, too."""
        super().check(kind, what)
        if self._whole and self._codec is None:
            check_kept(kind, f"{what}: collect()")

    def bind(self, values: Codec[Any]) -> None:
        """Whole values are kept as the stream's topic encodes them."""
        if self._codec is None:
            self._codec = values if self._whole else codec_of(Any)
        self.kept = tuple[bytes, ...]

    def first(self, value: Any) -> tuple[bytes, ...]:
        """One value's bytes."""
        assert self._codec is not None
        return (self._codec.encode(self._read(value)),)

    def merge(self, kept: tuple[bytes, ...], other: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """One after the other."""
        return kept + other

    def result(self, kept: tuple[bytes, ...]) -> list[Any]:
        """The values."""
        assert self._codec is not None
        return [self._codec.decode(each) for each in kept]


class Reduce(Aggregate[Any]):
    """A function of two values that gives one of the same type; it must be associative for
    windows that merge (sessions) and for sliding ones.
    """

    is_foreign = True

    def __init__(self, function: Callable[[Any, Any], Any], *, type: Any) -> None:
        check_callable(function, "reduce: what makes one value of two")
        self._function = function
        self.kept = type

    def first(self, value: Any) -> Any:
        """The value itself."""
        return value

    def merge(self, kept: Any, other: Any) -> Any:
        """What the function says."""
        return self._function(kept, other)


class Distinct(_Reading[int]):
    """About how many different values of a field there are: a HyperLogLog sketch of 2**`log2k`
    registers (Flajolet et al. 2007), within 1.04 / sqrt(2**log2k) of the truth (1.6 %).

    Needs `pip install datasketches`.
    """

    kept = bytes

    def __init__(self, field: Field | None = None, *, log2k: int = 12) -> None:
        try:
            import datasketches
        except ImportError as error:
            raise AppError(
                "counting distinct values needs a library: pip install datasketches"
            ) from error
        if log2k not in range(4, 22):
            raise AppError(f"Distinct: log2k is from 4 to 21, not {log2k!r:.60}")
        super().__init__(field)
        self._sketches: Any = datasketches
        self._log2k = log2k

    def first(self, value: Any) -> bytes:
        """A sketch of one value."""
        sketch = self._sketches.hll_sketch(self._log2k)
        sketch.update(_hashable(self._read(value)))
        return bytes(sketch.serialize_compact())

    def add(self, kept: bytes, value: Any) -> bytes:
        """The sketch with one more value."""
        sketch = self._sketches.hll_sketch.deserialize(kept)
        sketch.update(_hashable(self._read(value)))
        return bytes(sketch.serialize_compact())

    def merge(self, kept: bytes, other: bytes) -> bytes:
        """The union of two sketches."""
        union = self._sketches.hll_union(self._log2k)
        union.update(self._sketches.hll_sketch.deserialize(kept))
        union.update(self._sketches.hll_sketch.deserialize(other))
        return bytes(union.get_result(self._sketches.tgt_hll_type.HLL_8).serialize_compact())

    def result(self, kept: bytes) -> int:
        """The estimate."""
        return round(float(self._sketches.hll_sketch.deserialize(kept).get_estimate()))


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else repr(value)


class Several(Aggregate[dict[str, Any]]):
    """Named aggregates side by side.

    >>> Several({"n": Count(), "top": Max()}).add((1, 5), 7)
    (2, 7)
    """

    def __init__(self, parts: dict[str, Aggregate[Any]]) -> None:
        if not parts:
            raise AppError("name at least one aggregate, e.g. aggregate(total=fs.Sum('amount'))")
        for name, part in parts.items():
            if not isinstance(part, Aggregate):
                raise AppError(
                    f"aggregate({name}=...) takes an aggregate, e.g. fs.Sum('amount') or"
                    f" fs.Count(), not {described(part)}"
                )
        self.is_foreign = any(part.is_foreign for part in parts.values())
        self._names = list(parts)
        self._parts = list(parts.values())

    def bind(self, values: Codec[Any]) -> None:
        """Each of them."""
        for part in self._parts:
            part.bind(values)
        self.kept = tuple[tuple(part.kept for part in self._parts)]  # type: ignore[misc]

    def check(self, kind: Any, what: str) -> None:
        """Each of them."""
        for part in self._parts:
            part.check(kind, what)

    def first(self, value: Any) -> tuple[Any, ...]:
        """Each of them."""
        return tuple(part.first(value) for part in self._parts)

    def add(self, kept: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        """Each of them."""
        pairs = zip(self._parts, kept, strict=True)
        return tuple(part.add(each, value) for part, each in pairs)

    def merge(self, kept: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        """Each of them."""
        triples = zip(self._parts, kept, other, strict=True)
        return tuple(part.merge(one, two) for part, one, two in triples)

    def result(self, kept: tuple[Any, ...]) -> dict[str, Any]:
        """Results by name."""
        triples = zip(self._names, self._parts, kept, strict=True)
        return {name: part.result(each) for name, part, each in triples}
