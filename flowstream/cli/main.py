"""The `flowstream` command: which verb is which module. Only the module of the verb that is asked
for is imported.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""128 and the signal's number, as shells have it."""


def main() -> None:
    """Run the verb that the command line names."""
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        # While modules are imported, ours or the app's: nothing runs yet that would have to stop.
        sys.exit(INTERRUPTED)


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["broker"]:
        # Without typer: a worker that starts its broker waits for this process.
        from flowstream.cli import broker

        sys.exit(broker.run(arguments[1:]))
    from flowstream.cli import app

    app.run(arguments)
