"""Which windows close, how long closed ones are kept, and what becomes of events that are late.

Pure. Refused where it is declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from flowstream.processing.errors import AppError
from flowstream.processing.time.windows import Window
from flowstream.processing.values.durations import Seconds

if TYPE_CHECKING:
    from flowstream.processing.tables.table import Table

Late = Literal["drop", "dead_letter", "update"]
"""What becomes of an event that comes after its window has closed."""


def closing_spans(
    table: str, expires: Seconds | None, grace: Seconds | None
) -> tuple[Seconds | None, Seconds | None]:
    """`expires` and `grace` of windows that a function is told of: without `grace` one closes, and
    is gone with that, `expires` after its end, as in Faust.
    """
    if grace is not None:
        return expires, grace
    if expires is None:
        raise AppError(
            f"table {table!r}: on_window_close= is never called where no window closes: say"
            " expires=, how long after its end one does"
        )
    return None, expires


def check_late(table: Table[Any, Any], window: Window, late: Late) -> None:
    """Refuse a policy for late events that cannot be."""
    if late not in ("drop", "dead_letter", "update"):
        raise AppError(
            f"table {table.name!r}: late= is 'drop', 'dead_letter' or 'update', not {late!r}"
        )
    if late != "drop" and window.grace_ms is None:
        raise AppError(
            f"table {table.name!r}: late={late!r} needs grace=: without it nothing closes"
        )
    if late == "update" and window.expires_ms is None:
        raise AppError(
            f"table {table.name!r}: late='update' needs expires=: how long a closed window is kept"
            " to be updated"
        )
    if window.expires_ms is not None and window.expires_ms < (window.grace_ms or 0):
        raise AppError(
            f"table {table.name!r}: expires= is shorter than grace=: windows would be deleted"
            " before they close"
        )
