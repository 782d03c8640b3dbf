"""Parked events tried again beside lanes: the same agent on the same rows, so its units are checked
as theirs are.

Shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flowstream.processing.errors import RowsContested
from flowstream.processing.events.event import Arrival
from flowstream.processing.running.firing import InnerInstance
from flowstream.processing.running.lanes import Checked, Lanes
from flowstream.processing.running.plan import Reader
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.units.task import Source, Task


class ParkedInstance(Checked, InnerInstance):
    """The instance of an agent with `concurrency=` that tries parked events again."""

    def __init__(
        self,
        reader: Reader,
        inner: InnerSource[object, object],
        due: DuePartition,
        task: Task,
        source: Source,
        shelf: Shelf,
        around: Surroundings,
    ) -> None:
        beside = replace(shelf, views=shelf.witnesses)
        super().__init__(reader, inner, due, task, source, beside, around)
        self._witness(shelf)
        self._lanes: Sequence[Lanes] = ()

    def join(self, lanes: Sequence[Lanes]) -> None:
        """These work on the same rows."""
        self._lanes = lanes
        for each in lanes:
            each.join(self)

    def take_ready(self) -> Arrival | None:
        """See `InnerInstance.take_ready`; not while another unit is to be alone."""
        if not all(lanes.may_begin(self) for lanes in self._lanes):
            return None
        record = super().take_ready()
        # Lanes put events behind this one meanwhile: its row is read anew when the unit ends.
        dict(self._witnesses)[self._inner.table].seen.clear()
        return record

    def _is_to_wait(self) -> bool:
        # When it wants to be alone, the lanes do wait for it.
        return not self._conflicts and super()._is_to_wait()

    def complete(self) -> None:
        """See `InnerInstance.complete`; done again if what the unit has read is not so any more."""
        if self.record is None:
            return
        if not self._holds():
            self._do_again()
            return
        super().complete()
        self._conflicts = 0
        self._has_ended()

    def complete_as_it_is(self) -> None:
        """See `InnerInstance.complete_as_it_is`."""
        super().complete_as_it_is()
        self._conflicts = 0
        self._has_ended()

    def _has_ended(self) -> None:
        for lanes in self._lanes:
            lanes.has_ended(self)

    def _do_again(self) -> None:
        # As they were fired: the open one may have got another event time since.
        is_to_be_alone = self._step_back([*self._fired])
        for lanes in self._lanes:
            if is_to_be_alone:
                lanes.want_alone(self)
            lanes.stepped_back()

    async def _failed(self, error: Exception) -> None:
        contested = isinstance(error, RowsContested)
        if self.record is not None and not self.closed and not contested and not self._holds():
            self._do_again()
            return
        await super()._failed(error)
