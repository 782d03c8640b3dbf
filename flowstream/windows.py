"""Windows as values, by Faust's names: `from flowstream.windows import TumblingWindow`."""

from __future__ import annotations

from flowstream.processing.time.shapes import HoppingWindow, TumblingWindow, Window
from flowstream.processing.time.windows import WindowRange

__all__ = ["HoppingWindow", "TumblingWindow", "Window", "WindowRange"]
