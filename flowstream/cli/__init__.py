"""Command line: the only place that wires the layers together.

`option` and `argument` are for commands of an app, as in Faust: click's own.
"""

from __future__ import annotations

from click import argument as argument
from click import option as option
