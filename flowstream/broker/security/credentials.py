"""What is kept of a user's password."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A SCRAM credential. Whoever has the keys cannot log in with them, but can guess passwords at
    leisure: they are in no repr (X5).
    """

    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    iterations: int
