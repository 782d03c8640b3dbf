"""Compiles the encoder of one message at one version: a function that appends buffers to a list.

Everything is inlined; adjacent fixed-size values, with the length prefix that follows them, share
one struct call. Knows declarations only, never a particular message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from flowstream.errors import WireError
from flowstream.wire import primitives
from flowstream.wire.fields import Field, Layout, WireType
from flowstream.wire.primitives import Buffer
from flowstream.wire.source import Source

Parts = list[Buffer]
EncodeInto = Callable[[Parts, Any], None]


def compile_encoder(layout: Layout, version: int) -> EncodeInto:
    """`encode_into(parts, message)` for `version`; raises WireError for values the version cannot
    carry.
    """
    return _Encoder(layout, version).compile()


class _Encoder:
    def __init__(self, layout: Layout, version: int) -> None:
        self.layout = layout
        self.version = version
        self.flexible = version in layout.flexible
        self.pending: list[tuple[str, str]] = []
        self.append = "append"
        self.where = layout.name
        self.source = Source(
            {
                "WireError": WireError,
                "error": struct.error,
                "pack": struct.pack,
                "uvarint": primitives.uvarint,
                "string_length": primitives.string_length,
                "tag_section": primitives.tags,
                "UV": tuple(primitives.uvarint(n) for n in range(128)),
            }
        )

    def compile(self) -> EncodeInto:
        name = f"{self.layout.name} v{self.version}"
        src = self.source
        with src.block("def encode_into(parts, m):"):
            src.line("append = parts.append")
            with src.block("try:"):
                self.fields(self.layout, "m")
                self.flush()
                src.line("pass")
            # What struct and str say about a wrong value; a caller sees one kind of error.
            with src.block("except (error, AttributeError, TypeError, ValueError) as e:"):
                src.line(f"raise WireError(f'{name}: {{e}}') from e")
        return src.function("encode_into", f"<encode {name}>")

    def fields(self, layout: Layout, obj: str) -> None:
        tagged = []
        for each in layout.fields:
            self.where = f"{layout.name}.{each.name}"
            if self.version in each.tagged:
                tagged.append(each)
            elif self.version in each.versions:
                nullable = self.version in each.nullable
                self.value(each.type, f"{obj}.{each.name}", nullable)
            elif not each.ignorable:
                self.refuse(each, obj)
        if self.flexible:
            self.tags(tagged, obj)

    def refuse(self, each: Field, obj: str) -> None:
        with self.source.block(f"if not ({self.is_default(each, obj)}):"):
            self.source.line(f"raise WireError('{self.where} does not exist in v{self.version}')")

    def is_default(self, each: Field, obj: str) -> str:
        value, default = f"{obj}.{each.name}", self.source.constant(each.default)
        if each.default is None:
            return f"{value} is None"
        if each.type.name in ("struct", "float64"):
            return f"{value} is {default} or {value} == {default}"
        return f"{value} == {default}"

    def value(self, type: WireType[Any], expr: str, nullable: bool) -> None:
        if type.format:
            self.fixed(type, expr)
        elif type.name == "array":
            self.array(type, expr, nullable)
        elif type.name == "struct":
            self.struct(type, expr, nullable)
        else:
            self.sized(type, expr, nullable)

    def fixed(self, type: WireType[Any], expr: str) -> None:
        if type.name == "uuid":  # struct pads and cuts silently
            with self.source.block(f"if len({expr}) != 16:"):
                self.source.line(f"raise WireError('{self.where}: a uuid has 16 bytes')")
        self.pending.append((type.format, expr))

    def sized(self, type: WireType[Any], expr: str, nullable: bool) -> None:
        src, value, length = self.source, self.source.fresh("v"), self.source.fresh("n")
        text = type.name.endswith("string")
        compact = self.flexible and type.name != "classic string"
        src.line(f"{value} = {expr}")
        if nullable:
            with src.block(f"if {value} is None:"):
                src.line(f"{value} = b''")
                src.line(f"{length} = {0 if compact else -1}")
            with src.block("else:"):
                self.measure(value, length, text, compact)
        else:
            self.measure(value, length, text, compact)
        if compact:
            self.flush_varint(length, "string_length" if text else "uvarint")
        else:
            self.pending.append(("h" if text else "i", length))
            self.flush()
        src.line(f"{self.append}({value})")

    def measure(self, value: str, length: str, text: bool, compact: bool) -> None:
        if text:
            self.source.line(f"{value} = {value}.encode()")
        self.source.line(f"{length} = len({value})" + (" + 1" if compact else ""))

    def array(self, type: WireType[Any], expr: str, nullable: bool) -> None:
        src, value, count = self.source, self.source.fresh("a"), self.source.fresh("n")
        element = type.element
        assert element is not None
        src.line(f"{value} = {expr}")
        if nullable:
            with src.block(f"if {value} is None:"):
                src.line(f"{value} = ()")
                src.line(f"{count} = {0 if self.flexible else -1}")
            with src.block("else:"):
                self.measure(value, count, False, self.flexible)
        else:
            self.measure(value, count, False, self.flexible)
        if self.flexible:
            self.flush_varint(count, "uvarint")
        else:
            self.pending.append(("i", count))
            self.flush()
        self.elements(element, value)

    def elements(self, element: WireType[Any], value: str) -> None:
        src = self.source
        if element.format and element.name != "uuid":
            with src.block(f"if {value}:"):
                src.line(f"{self.append}(pack(f'>{{len({value})}}{element.format}', *{value}))")
            return
        each = src.fresh("e")
        with src.block(f"for {each} in {value}:"):
            self.value(element, each, False)
            self.flush()

    def struct(self, type: WireType[Any], expr: str, nullable: bool) -> None:
        src, obj = self.source, self.source.fresh("s")
        assert type.layout is not None
        src.line(f"{obj} = {expr}")
        if not nullable:
            self.fields(type.layout, obj)
            return
        self.flush()
        with src.block(f"if {obj} is None:"):
            src.line(f"{self.append}(b'\\xff')")
        with src.block("else:"):
            self.pending.append(("b", "1"))
            self.fields(type.layout, obj)
            self.flush()

    def tags(self, tagged: list[Field], obj: str) -> None:
        """The section of tagged fields: nearly always one zero byte, which then joins the fixed
        values before it.
        """
        src = self.source
        plain = [f"not {obj}.unknown_tags", *(f"({self.is_default(f, obj)})" for f in tagged)]
        waiting = list(self.pending)
        with src.block(f"if {' and '.join(plain)}:"):
            if waiting:
                self.pending.append(("x", ""))
                self.flush()
            else:
                src.line(f"{self.append}(b'\\0')")
        with src.block("else:"):
            self.pending = waiting
            self.flush()
            section = src.fresh("t")
            src.line(f"{section} = list({obj}.unknown_tags)")
            for each in tagged:
                self.tag(each, obj, section)
            src.line(f"{self.append}(tag_section({section}))")

    def tag(self, each: Field, obj: str, section: str) -> None:
        src, outer, inner = self.source, self.append, self.source.fresh("p")
        with src.block(f"if not ({self.is_default(each, obj)}):"):
            src.line(f"{inner} = []")
            self.append = f"{inner}.append"
            self.value(each.type, f"{obj}.{each.name}", self.version in each.nullable)
            self.flush()
            self.append = outer
            src.line(f"{section}.append(({each.tag}, b''.join({inner})))")

    def flush(self) -> None:
        """Write the fixed-size values that wait, with one struct call."""
        if self.pending:
            self.source.line(f"{self.append}({self.packed(self.pending)})")
            self.pending = []

    def flush_varint(self, number: str, slow: str) -> None:
        """Write what waits and then the varint `number`, which joins the struct call while it fits
        one byte.
        """
        src, waiting = self.source, self.pending
        self.pending = []
        if not waiting:
            src.line(f"{self.append}(UV[{number}] if {number} < 128 else {slow}({number}))")
            return
        with src.block(f"if {number} < 128:"):
            src.line(f"{self.append}({self.packed([*waiting, ('B', number)])})")
        with src.block("else:"):
            src.line(f"{self.append}({self.packed(waiting)})")
            src.line(f"{self.append}({slow}({number}))")

    def packed(self, values: list[tuple[str, str]]) -> str:
        formats = "".join(code for code, _ in values)
        pack = "pack_" + formats.replace("?", "t")
        self.source.scope[pack] = struct.Struct(">" + formats).pack
        return f"{pack}({', '.join(expr for _, expr in values if expr)})"
