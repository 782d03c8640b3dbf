"""A bar on the terminal while a worker restores its tables: share, rate, time left.

Shell: looks at the worker's progress a few times per second, and draws nothing while there is
nothing to restore. Log lines go on above the bar, but for those that say the same.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from flowstream.clock import monotonic_ms
from flowstream.processing.stores.restoring import Progress

LOOK_EVERY_S = 0.2
AFTER_MS = 500
"""What is restored sooner needs no bar."""
RESTORE_LOG = "flowstream.restore"


class RestoreBar:
    """The bar, while there is one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Bar | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it is on the terminal."""
        return self._bar is not None

    def look(self, progress: Progress, now_ms: int) -> None:
        """Draw how far a restore is; take the bar away when there is none."""
        is_long = progress.began_ms and now_ms - progress.began_ms >= AFTER_MS
        if not is_long or progress.done >= progress.total:
            self.hide()
            return
        if self._bar is None:
            self._show()
        assert self._bar is not None
        self._bar.update(
            self._bar.task_ids[0],
            total=progress.total,
            completed=progress.done,
            rate=f"{progress.rate(now_ms):,.0f}",
            left=f"{progress.left_s(now_ms):.0f}",
        )

    def _show(self) -> None:
        self._bar = Bar(
            TextColumn("restoring tables"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%  {task.fields[rate]} records/s"),
            TextColumn("{task.fields[left]} s left"),
            console=self._console,
            transient=True,
        )
        self._bar.add_task("", rate="0", left="?")
        self._bar.start()
        _redirect()
        logging.getLogger(RESTORE_LOG).addFilter(_says_more)

    def hide(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            _redirect()
            logging.getLogger(RESTORE_LOG).removeFilter(_says_more)


def _redirect() -> None:
    """Have log lines written to where standard error is now: while there is a bar, above it."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(sys.stderr)


def _says_more(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("restoring tables:")


async def watch_restores(progress: Callable[[], Progress]) -> None:
    """Show the restores of a worker to whoever sits at the terminal, until cancelled."""
    bar = RestoreBar(Console(stderr=True))
    try:
        while True:
            bar.look(progress(), monotonic_ms())
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        bar.hide()
