"""The error for a value that a table's type does not hold. Pure."""

from __future__ import annotations

from flowstream.state.key_fields import Mismatch


def unfit(
    table: str, kind: str, key: str, value: object, error: Exception, *, is_no_text: bool
) -> TypeError | ValueError:
    """What to raise instead of a codec's `error`, which knows neither table nor key. `is_no_text`:
    a text was expected, and the builtin that encodes one speaks of descriptors.
    """
    given = type(value).__name__
    what = f"table {table!r} holds {kind} values; key {key} was given {given}: {value!r:.100}"
    if is_no_text or isinstance(error, Mismatch):
        return TypeError(f"{what}; convert it, or declare value_type={given}")
    failed = TypeError if isinstance(error, TypeError) else ValueError
    return failed(f"{what} ({error})")
