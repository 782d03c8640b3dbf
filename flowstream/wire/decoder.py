"""Compiles the decoder of one message at one version: a function from (view, position) to (message,
position).

Everything is inlined; adjacent fixed-size values, with the length prefix that follows them, share
one struct call. Counts and lengths are checked against the remaining bytes before anything is
allocated, and the elements of what a peer asks are counted. Knows declarations only.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol, TypeVar

from flowstream.errors import WireError
from flowstream.wire import primitives
from flowstream.wire.fields import Field, Layout, WireType
from flowstream.wire.source import Source

ELEMENTS = 1 << 13
"""Of all arrays of one request, and its unknown tags, where its reader allows no more. A frame of
100 MB could have as many elements as bytes, each costs a hundred times its byte, and everybody
would wait a minute for it (X3, X4).
"""

EMBEDDED_ELEMENTS = 1 << 16
"""Of what a member of a group says inside of a request: the topics and partitions it has."""

EMBEDDED = "ConsumerProtocol"
"""Messages of clients inside of requests."""


M_co = TypeVar("M_co", covariant=True)


class DecodeFrom(Protocol[M_co]):
    """Reads one message at one version."""

    def __call__(self, view: memoryview, pos: int, left: int = ..., /) -> tuple[M_co, int]:
        """The message at `pos`, and the position after it; a request with more than `left` elements
        is refused.
        """
        ...


def compile_decoder(layout: Layout, version: int) -> DecodeFrom[Any]:
    """`decode_from(view, position, elements)` for `version`; raises WireError for anything but a
    well-formed message.
    """
    return _Decoder(layout, version).compile()


class _Decoder:
    def __init__(self, layout: Layout, version: int) -> None:
        self.layout = layout
        self.version = version
        self.flexible = version in layout.flexible
        # Answers are what this side asked for, and records what it wrote.
        embedded = layout.name.startswith(EMBEDDED)
        self.bounded = layout.name.endswith("Request") or embedded
        self.elements_most = EMBEDDED_ELEMENTS if embedded else ELEMENTS
        self.pending: list[tuple[str, str]] = []
        self.where = layout.name
        self.source = Source(
            {
                "WireError": WireError,
                "error": struct.error,
                "unpack_from": struct.unpack_from,
                "read_uvarint": primitives.read_uvarint,
                "read_tags": primitives.read_tags,
                "new": object.__new__,
            }
        )

    def compile(self) -> DecodeFrom[Any]:
        name = f"{self.layout.name} v{self.version}"
        src = self.source
        with src.block(f"def decode_from(view, pos, left={self.elements_most}):"):
            src.line("size = len(view)")
            if self.bounded:
                src.line("most = left")
            with src.block("try:"):
                self.fields(self.layout, "m")
                self.flush()
                src.line("return m, pos")
            # What struct, indexing and str say about bytes that are short or wrong; a caller sees
            # one kind of error.
            with src.block("except (error, IndexError, ValueError) as e:"):
                src.line(f"raise WireError(f'{name} at byte {{pos}}: {{e}}') from e")
        return src.function("decode_from", f"<decode {name}>")

    def fields(self, layout: Layout, obj: str) -> None:
        src, tagged = self.source, []
        src.line(f"{obj} = new({src.constant(layout.cls)})")
        for each in layout.fields:
            target = f"{obj}.{each.name}"
            self.where = f"{layout.name}.{each.name}"
            if self.version in each.tagged:
                src.line(f"{target} = {src.constant(each.default)}")
                tagged.append(each)
            elif self.version in each.versions:
                self.value(each.type, target, self.version in each.nullable)
            else:
                src.line(f"{target} = {src.constant(each.default)}")
        if self.flexible:
            self.where = layout.name
            self.tags(tagged, obj)
        else:
            src.line(f"{obj}.unknown_tags = ()")

    def value(self, type: WireType[Any], target: str, nullable: bool) -> None:
        if type.format:
            self.pending.append((type.format, target))
        elif type.name == "array":
            self.array(type, target, nullable)
        elif type.name == "struct":
            self.struct(type, target, nullable)
        else:
            self.sized(type, target, nullable)

    def length(self, code: str, compact: bool) -> str:
        """Read a length or count, together with what waits; a compact one is still one too large,
        with 0 for null.
        """
        src, number = self.source, self.source.fresh("n")
        self.pending.append(("B" if compact else code, number))
        self.flush()
        if compact:
            with src.block(f"if {number} > 127:"):
                src.line(f"{number}, pos = read_uvarint(view, pos - 1)")
            src.line(f"{number} -= 1")
        return number

    def sized(self, type: WireType[Any], target: str, nullable: bool) -> None:
        src = self.source
        text = type.name.endswith("string")
        number = self.length("h" if text else "i", self.flexible and type.name != "classic string")
        if nullable:
            with src.block(f"if {number} == -1:"):
                src.line(f"{target} = None")
            with src.block("else:"):
                self.cut(type, target, number)
        else:
            self.cut(type, target, number)

    def cut(self, type: WireType[Any], target: str, number: str) -> None:
        """Take `number` bytes."""
        src = self.source
        src.line(f"end = pos + {number}")
        limit = f" or {number} > {primitives.STRING_LENGTH_MAX}" if "string" in type.name else ""
        with src.block(f"if {number} < 0 or end > size{limit}:"):
            src.line(f"raise WireError(f'{self.where}: length {{{number}}} at byte {{pos}}')")
        taken = "view[pos:end]"
        if "string" in type.name:
            taken = f"str({taken}, 'utf-8')"
        elif type.name == "bytes":
            taken = f"bytes({taken})"
        src.line(f"{target} = {taken}")
        src.line("pos = end")

    def array(self, type: WireType[Any], target: str, nullable: bool) -> None:
        src, element = self.source, type.element
        assert element is not None
        number = self.length("i", self.flexible)
        if nullable:
            with src.block(f"if {number} == -1:"):
                src.line(f"{target} = None")
            with src.block("else:"):
                self.elements(element, target, number)
        else:
            self.elements(element, target, number)

    def elements(self, element: WireType[Any], target: str, number: str) -> None:
        src = self.source
        least = max(1, self.smallest(element, False))
        with src.block(f"if {number} < 0 or {number} * {least} > size - pos:"):
            src.line(f"raise WireError(f'{self.where}: count {{{number}}} at byte {{pos}}')")
        self.count(number)
        if element.format and element.name != "uuid":
            src.line(f"{target} = unpack_from(f'>{{{number}}}{element.format}', view, pos)")
            src.line(f"pos += {number} * {element.size}")
            return
        items, each = src.fresh("a"), src.fresh("e")
        src.line(f"{items} = []")
        with src.block(f"for _ in range({number}):"):
            self.value(element, each, False)
            self.flush()
            src.line(f"{items}.append({each})")
        src.line(f"{target} = tuple({items})")

    def count(self, number: str) -> None:
        """So many elements more."""
        if self.bounded:
            self.source.line(f"left -= {number}")
            with self.source.block("if left < 0:"):
                text = f"{self.layout.name} v{self.version}: more than {{most}} elements"
                self.source.line(f"raise WireError(f'{text}')")

    def struct(self, type: WireType[Any], target: str, nullable: bool) -> None:
        src, obj = self.source, self.source.fresh("s")
        assert type.layout is not None
        if not nullable:
            self.fields(type.layout, obj)
            src.line(f"{target} = {obj}")
            return
        mark = src.fresh("n")
        self.pending.append(("b", mark))
        self.flush()
        with src.block(f"if {mark} < 0:"):
            src.line(f"{target} = None")
        with src.block("else:"):
            self.fields(type.layout, obj)
            self.flush()
            src.line(f"{target} = {obj}")

    def tags(self, tagged: list[Field], obj: str) -> None:
        src, count = self.source, self.source.fresh("n")
        self.pending.append(("B", count))
        self.flush()
        with src.block(f"if {count}:"):
            with src.block(f"if {count} > 127:"):
                src.line(f"{count}, pos = read_uvarint(view, pos - 1)")
            self.count(count)
            if tagged:
                self.known_tags(tagged, obj, count)
            else:
                src.line(f"{obj}.unknown_tags, pos = read_tags(view, pos, {count})")
        with src.block("else:"):
            src.line(f"{obj}.unknown_tags = ()")

    def known_tags(self, tagged: list[Field], obj: str, count: str) -> None:
        src = self.source
        whose = self.where
        others, last, tag, stop = (src.fresh(name) for name in ("u", "l", "t", "z"))
        src.line(f"{others} = []")
        src.line(f"{last} = -1")
        with src.block(f"for _ in range({count}):"):
            src.line(f"{tag}, pos = read_uvarint(view, pos)")
            src.line(f"{stop}, pos = read_uvarint(view, pos)")
            src.line(f"{stop} += pos")
            with src.block(f"if {tag} <= {last} or {stop} > size:"):
                src.line(f"raise WireError(f'{self.where}: bad tag {{{tag}}} at byte {{pos}}')")
            src.line(f"{last} = {tag}")
            head = "if"
            for each in tagged:
                self.where = f"{whose}.{each.name}"
                with src.block(f"{head} {tag} == {each.tag}:"):
                    self.value(each.type, f"{obj}.{each.name}", self.version in each.nullable)
                    self.flush()
                head = "elif"
            with src.block("else:"):
                src.line(f"{others}.append(({tag}, bytes(view[pos:{stop}])))")
                src.line(f"pos = {stop}")
            with src.block(f"if pos != {stop}:"):
                src.line(f"raise WireError(f'{whose}: tag {{{tag}}} has another length')")
        src.line(f"{obj}.unknown_tags = tuple({others})")

    def smallest(self, type: WireType[Any], nullable: bool) -> int:
        """The fewest bytes a value of `type` takes."""
        if type.format:
            return type.size
        if type.name == "struct":
            assert type.layout is not None
            if nullable:
                return 1
            present = (
                f
                for f in type.layout.fields
                if self.version in f.versions and self.version not in f.tagged
            )
            inside = sum(self.smallest(f.type, self.version in f.nullable) for f in present)
            return inside + (1 if self.flexible else 0)
        if type.name == "classic string":
            return 2
        if self.flexible:
            return 1
        return 2 if type.name == "string" else 4

    def flush(self) -> None:
        """Read the fixed-size values that wait, with one struct call."""
        values, self.pending = self.pending, []
        if not values:
            return
        src = self.source
        formats = "".join(code for code, _ in values)
        if formats == "B":
            src.line(f"{values[0][1]} = view[pos]")
        else:
            unpack = "unpack_" + formats.replace("?", "t")
            src.scope[unpack] = struct.Struct(">" + formats).unpack_from
            targets = "".join(f"{target}, " for _, target in values)
            src.line(f"{targets}= {unpack}(view, pos)")
        src.line(f"pos += {struct.calcsize('>' + formats)}")
