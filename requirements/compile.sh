#!/bin/sh
# Pins every dependency with its hashes. No index address is written: the lock is the same wherever packages come from.
set -eu
cd "$(dirname "$0")/.."
lock() { .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet "$@"; }
lock --output-file requirements/runtime.txt
lock --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
