"""Ratios against the peers, measured alternating in one run. `python -m benchmarks --help`."""
