"""Prometheus by Faust's names: every worker with a web server has `/metrics` by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstream.processing.errors import SettingsError
from flowstream.processing.watching.monitor import Monitor

if TYPE_CHECKING:
    from flowstream.processing.app import App

__all__ = ["PrometheusMonitor", "setup_prometheus_sensors"]

PATH = "/metrics"


class PrometheusMonitor(Monitor):
    """A monitor, for apps that have it beside `/metrics`, which needs none."""

    def __init__(self, app: App | None = None, pattern: str = PATH, **options: Any) -> None:
        del app
        check_path(pattern)
        super().__init__(**options)


def setup_prometheus_sensors(
    app: App, pattern: str = PATH, registry: object = None, name_prefix: str | None = None
) -> None:
    """Have the app's counts in a `PrometheusMonitor`; `/metrics` is there with the worker's web
    server, in a registry and with names of its own: other ones are refused.
    """
    if registry is not None or name_prefix is not None:
        raise SettingsError(
            "setup_prometheus_sensors: metrics have a registry of each worker's own, and names that"
            " begin with flowstream_: leave registry= and name_prefix= out, and have the scraper"
            " tell apps apart (relabel_configs)"
        )
    app.monitor = PrometheusMonitor(app, pattern)


def check_path(pattern: str) -> None:
    """SettingsError for another path than that of the metrics."""
    if pattern != PATH:
        raise SettingsError(
            f"metrics are at {PATH} of the worker's web server, not at {pattern!r}: leave the"
            " pattern out, and have the scraper read there (metrics_path)"
        )
