"""The `flowstream` command: which verb is which module. Only the module of the verb that is asked
for is imported.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the verb that the command line names."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["broker"]:
        # Without typer: a worker that starts its broker waits for this process.
        from flowstream.cli import broker

        sys.exit(broker.run(arguments[1:]))
    from flowstream.cli import app

    app.run(arguments)
