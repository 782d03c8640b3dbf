"""What a worker serves over HTTP: its health, its metrics, its tables, and the app's own pages.

`Request`, `Response` and `View` are the types of pages, by Faust's names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowstream.processing.declarations.pages import PageAnswer as Response
    from flowstream.processing.declarations.pages import View
    from flowstream.web.pages import PageRequest as Request

__all__ = ["Request", "Response", "View"]

_HOMES = {
    "Request": ("flowstream.web.pages", "PageRequest"),
    "Response": ("flowstream.processing.declarations.pages", "PageAnswer"),
    "View": ("flowstream.processing.declarations.pages", "View"),
}


def __getattr__(name: str) -> Any:
    # Imported on first use: who serves nothing needs no web server's libraries.
    if name not in _HOMES:
        raise AttributeError(f"module 'flowstream.web' has no attribute {name!r}")
    module, its = _HOMES[name]
    return getattr(import_module(module), its)
