"""Where in the user's own code an error comes from: the rest of a traceback is for us to read.

Looks at tracebacks; prints nothing.
"""

from __future__ import annotations

import importlib
import os
import sysconfig
from pathlib import Path
from types import TracebackType

import flowstream

PACKAGE = os.path.join(os.path.dirname(flowstream.__file__), "")
IMPORTING = (os.path.join(os.path.dirname(importlib.__file__), ""), "<frozen importlib")
_PATHS = sysconfig.get_paths()
_INSTALLED = tuple(_PATHS[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def place(error: BaseException) -> str | None:
    """FILE:LINE of the user's line that led to an error, None when none did."""
    found = None
    entry = error.__traceback__
    while entry is not None:
        name = entry.tb_frame.f_code.co_filename
        if not name.startswith((PACKAGE, "<", *_INSTALLED)):
            found = f"{_short(name)}:{entry.tb_lineno}"
        entry = entry.tb_next
    return found


def _short(name: str) -> str:
    path, here = Path(name), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def without_our_frames(error: BaseException) -> BaseException:
    """The error without the frames of this package and of the import system in its traceback, nor
    in those of what led to it.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        _trim(each)
        each = each.__cause__ or each.__context__
    return error


def _trim(error: BaseException) -> None:
    kept: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        if not entry.tb_frame.f_code.co_filename.startswith((PACKAGE, *IMPORTING)):
            kept.append(entry)
        entry = entry.tb_next
    trimmed: TracebackType | None = None
    for each in reversed(kept):
        trimmed = TracebackType(trimmed, each.tb_frame, each.tb_lasti, each.tb_lineno)
    error.__traceback__ = trimmed
