"""`python -m flowstream` is the `flowstream` command."""

from __future__ import annotations

from flowstream.cli.main import main

if __name__ == "__main__":
    main()
