"""The worker that serves its pages, metrics and queries while it runs: `fs.Worker`."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager, nullcontext

from flowstream.processing import worker

log = logging.getLogger("flowstream.worker")


class Worker(worker.Worker):
    """Runs one app against one cluster (HOST:PORT). Use `run`, and `stop` from anywhere; or
    `running`.

    `address` tells where the cluster is now, when it may end and come back elsewhere as the
    embedded broker does: the worker then waits for it and follows. `sensors` join the app's.
    """

    def _served(self) -> AbstractAsyncContextManager[object]:
        """Its web server where `web_port` wants one, unless somebody serves it already."""
        if self.settings.web_port is None:
            if self.app.pages:
                log.warning("the app has pages and no web_port: nobody can visit them")
            return nullcontext()
        if self.web_address is not None:
            return nullcontext()
        from flowstream.web.serving import serving  # its libraries take a while to import

        return serving(self)
