"""Declares messages: the types of the protocol, a field's versions, and the decorators that make
slotted value classes.

Holds what a message *is*; how it becomes bytes is in `encoder` and `decoder`. Words and rules
follow Kafka's message definitions (KIP-482 for flexible versions and tagged fields).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast, dataclass_transform, overload

from flowstream.errors import WireError

T = TypeVar("T")
M = TypeVar("M")

ZERO_UUID = bytes(16)
"""Kafka's "no id"."""

Records = bytes | bytearray | memoryview
UnknownTags = tuple[tuple[int, bytes], ...]

_UNSET: Any = object()
_OPEN_END = 0x8000


class WireType(Generic[T]):
    """How one value is laid out: `format` is the struct code of a fixed-size type, else empty."""

    __slots__ = ("default", "element", "format", "layout", "name", "size")

    def __init__(
        self,
        name: str,
        default: T,
        *,
        format: str = "",
        size: int = 0,
        element: WireType[Any] | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.name = name
        self.default = default
        self.format = format
        self.size = size
        self.element = element
        self.layout = layout


BOOLEAN = WireType("bool", False, format="?", size=1)
INT8 = WireType("int8", 0, format="b", size=1)
INT16 = WireType("int16", 0, format="h", size=2)
UINT16 = WireType("uint16", 0, format="H", size=2)
INT32 = WireType("int32", 0, format="i", size=4)
UINT32 = WireType("uint32", 0, format="I", size=4)
INT64 = WireType("int64", 0, format="q", size=8)
FLOAT64 = WireType("float64", 0.0, format="d", size=8)
UUID = WireType("uuid", ZERO_UUID, format="16s", size=16)
STRING = WireType("string", "")
CLASSIC_STRING = WireType("classic string", "")
"""A string with a 16-bit length in flexible versions too: the client id of a request header."""
BYTES = WireType("bytes", b"")
RECORDS: WireType[Records] = WireType("records", b"")
"""Record batches, opaque: decoding gives a view into the input, encoding does not copy large ones.
"""


def array(element: WireType[T] | type[T]) -> WireType[tuple[T, ...]]:
    """An array of `element`s; the value is a tuple."""
    return WireType("array", (), element=_wire_type(element))


def _wire_type(declared: WireType[T] | type[T]) -> WireType[T]:
    if isinstance(declared, WireType):
        return declared
    return WireType("struct", declared(), layout=layout_of(declared))


def versions(text: str) -> range:
    """`"3+"`, `"0-12"`, `"4"` or `"none"` as a range of version numbers."""
    if text == "none":
        return range(0)
    first, dash, last = text.removesuffix("+").partition("-")
    if text.endswith("+"):
        return range(int(first), _OPEN_END)
    return range(int(first), int(last if dash else first) + 1)


class Field:
    """One declared field of a message or struct."""

    __slots__ = (
        "default",
        "ignorable",
        "name",
        "nullable",
        "secret",
        "tag",
        "tagged",
        "type",
        "versions",
    )

    def __init__(self, type: WireType[Any], present: range, default: Any) -> None:
        self.name = ""
        self.type = type
        self.versions = present
        self.default = type.default if default is _UNSET else default
        self.nullable = range(0)
        self.ignorable = False
        self.secret = False
        self.tag = -1
        self.tagged = range(0)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


@overload
def field(
    type: WireType[T] | type[T],
    present: str,
    *,
    default: T = ...,
    ignorable: bool = ...,
    secret: bool = ...,
    tag: int = ...,
    tagged: str = ...,
) -> T: ...


@overload
def field(
    type: WireType[T] | type[T],
    present: str,
    *,
    nullable: str,
    default: T | None = ...,
    ignorable: bool = ...,
    secret: bool = ...,
    tag: int = ...,
    tagged: str = ...,
) -> T | None: ...


def field(
    type: WireType[T] | type[T],
    present: str,
    *,
    nullable: str = "none",
    default: T | None = _UNSET,
    ignorable: bool = False,
    secret: bool = False,
    tag: int = -1,
    tagged: str = "none",
) -> T | None:
    """Declare a field of `type` in the versions `present`.

    A field that a version lacks decodes to its default; encoding another value there is an error
    unless the field is `ignorable`. In the versions `tagged` it travels as tagged field `tag`, and
    only when it differs from its default. A `secret` field is left out of the repr (X5).
    """
    declared = Field(_wire_type(type), versions(present), default)
    declared.nullable = versions(nullable)
    declared.ignorable = ignorable
    declared.secret = secret
    declared.tag = tag
    declared.tagged = versions(tagged)
    return cast(T, declared)


class Layout:
    """What the compilers need to know of a class: its fields in wire order, and its versions when
    it is a whole message.
    """

    __slots__ = ("cls", "fields", "flexible", "name", "versions")

    def __init__(self, cls: type, fields: tuple[Field, ...], all: range, flexible: range) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.fields = fields
        self.versions = all
        self.flexible = flexible


def layout_of(cls: type) -> Layout:
    """The layout of a class made by `message` or `struct`."""
    layout: Layout = cls.__layout__  # type: ignore[attr-defined]
    return layout


@dataclass_transform(kw_only_default=True, frozen_default=True)
def message(*, versions: str, flexible: str) -> Callable[[type[M]], type[M]]:
    """Make a whole message of a class of `field`s: slots, keyword-only init with Kafka's defaults,
    equality, hash and repr.

    Instances are frozen for the type checker only: at run time a plain store is several times
    cheaper.
    """
    served, compact = _ranges(versions, flexible)
    return lambda cls: _build(cls, served, compact)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def struct(cls: type[M]) -> type[M]:
    """Make a part of messages of a class of `field`s; its versions are those of the message around
    it.
    """
    return _build(cls, range(0), range(0))


def _ranges(all: str, flexible: str) -> tuple[range, range]:
    return versions(all), versions(flexible)


def _build(cls: type[M], all: range, flexible: range) -> type[M]:
    fields = tuple(value for value in vars(cls).values() if isinstance(value, Field))
    slots = (*(each.name for each in fields), "unknown_tags")
    values = attrgetter(*slots)
    body = {name: value for name, value in vars(cls).items() if name not in _REBUILT}
    for each in fields:
        del body[each.name]

    def __init__(self: M, **given: Any) -> None:
        init = _compile_init(fields)
        made.__init__ = init  # type: ignore[method-assign]
        init(self, **given)

    def __eq__(self: M, other: object) -> object:
        return values(self) == values(other) if type(other) is made else NotImplemented

    def __hash__(self: M) -> int:
        return hash(values(self))

    body |= {"__slots__": slots, "__init__": __init__, "__eq__": __eq__, "__hash__": __hash__}
    body |= {"__repr__": _repr, "__match_args__": ()}
    made = cast(type[M], type(cls.__name__, cls.__bases__, body))
    made.__layout__ = Layout(made, fields, all, flexible)  # type: ignore[attr-defined]
    return made


_REBUILT = ("__dict__", "__weakref__")


def _compile_init(fields: tuple[Field, ...]) -> Callable[..., None]:
    """An `__init__` of plain slot stores, compiled on the first call because most classes are only
    decoded or never used.
    """
    names = [each.name for each in fields]
    head = "".join(f"{name}=d_{name}, " for name in names)
    lines = [f"def __init__(self, *, {head}unknown_tags=()):"]
    lines += [f"    self.{name} = {name}" for name in (*names, "unknown_tags")]
    scope: dict[str, Any] = {f"d_{each.name}": each.default for each in fields}
    exec("\n".join(lines), scope)
    init: Callable[..., None] = scope["__init__"]
    return init


def _repr(self: object) -> str:
    shown = [
        f"{f.name}=..." if f.secret else f"{f.name}={getattr(self, f.name)!r}"
        for f in layout_of(type(self)).fields
    ]
    if tags := unknown_tags(self):
        shown.append(f"unknown_tags={tags!r}")
    return f"{type(self).__name__}({', '.join(shown)})"


def unknown_tags(message: object) -> UnknownTags:
    """The tagged fields that came with a decoded message and that its declaration does not know,
    kept to be sent on.
    """
    tags: UnknownTags = message.unknown_tags  # type: ignore[attr-defined]
    return tags


def replace(message: M, **changes: object) -> M:
    """A copy of `message` with some fields changed."""
    layout = layout_of(type(message))
    values: dict[str, object] = {each.name: getattr(message, each.name) for each in layout.fields}
    if unknown := changes.keys() - values.keys():
        raise WireError(f"{layout.name} has no field {', '.join(sorted(unknown))}")
    make: Callable[..., M] = type(message)
    return make(unknown_tags=unknown_tags(message), **values | changes)
