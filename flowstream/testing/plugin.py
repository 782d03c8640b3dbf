"""The pytest plugin: `flowstream_context` opens apps in memory and closes them after the test.

Loaded by every pytest run of an environment that has flowstream: it imports nothing before a test
asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flowstream.processing.app import App
    from flowstream.testing.context import AppContext


@pytest.fixture
def flowstream_context() -> Iterator[Callable[..., AppContext]]:
    """Call it with an app (and an `AppContext`'s options): it runs until the test is over."""
    from flowstream.testing.context import AppContext

    with ExitStack() as opened:

        def open_context(app: App, **options: Any) -> AppContext:
            return opened.enter_context(AppContext(app, **options))

        yield open_context
