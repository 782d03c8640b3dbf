"""Ids that nobody else has."""

from __future__ import annotations

from uuid import uuid4


def uuid() -> str:
    """A random id, as a text. An agent that is tried again gets another one."""
    return str(uuid4())
