"""Error texts that grew too long for their field: a client may name a topic of 32 KiB, and what is
said about it repeats the name. Kafka fails to answer then.
"""

from __future__ import annotations

from typing import Any, TypeVar

from flowstream.wire.fields import WireType, layout_of, replace

TEXT_MAX = 1000
"""Characters of an error text that does not fit."""
_ERROR_TEXT = "error_message"

M = TypeVar("M")


def clipped(message: M) -> M:
    """The message with short error texts; the same one when they are short already."""
    changes = {}
    for each in layout_of(type(message)).fields:
        value = getattr(message, each.name)
        new = _text(value) if each.name.endswith(_ERROR_TEXT) else _within(each.type, value)
        if new is not value:
            changes[each.name] = new
    return replace(message, **changes) if changes else message


def _text(value: str | None) -> str | None:
    return value if value is None or len(value) <= TEXT_MAX else value[:TEXT_MAX] + "..."


def _within(type: WireType[Any], value: Any) -> Any:
    if value is None:
        return None
    if type.layout is not None:
        return clipped(value)
    if type.element is None or type.element.layout is None:
        return value
    parts = tuple(clipped(each) for each in value)
    return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
