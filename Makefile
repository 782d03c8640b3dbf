# One Makefile for everything; each target works from a fresh clone with Python 3.11+, make and the package registries.
PYTHON ?= python3
N ?= 30
SEEDS ?= 200
KILLS ?= 3
JOBS ?= 2
CHOSEN ?=
V := .venv/bin

.PHONY: install demo demo-analytics test check bench crash crashapps sim simworkers simmixes interop lock

install: .venv/installed
.venv/installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "flowstream needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(V)/python || $(PYTHON) -m venv .venv
	$(V)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(V)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install ## the fraud pipeline on the integrated broker, killed at random while it runs
	$(V)/python -m examples.fraud_detection.demo --kills $(KILLS)

demo-analytics: install ## an access log, windows that are told once, compared with a single pass
	$(V)/python -m examples.web_analytics.demo

test: install ## every test that needs nothing else
	$(V)/pytest -q -n $(JOBS) -m "not slow and not interop"

check: install ## format, lint, types, import contracts, tidiness
	$(V)/ruff format --check .
	$(V)/ruff check .
	$(V)/mypy
	$(V)/basedpyright
	$(V)/lint-imports
	$(V)/pytest -q tests/test_tidy.py

bench: install ## ratios against the peers, see benchmarks/README.md
	$(V)/python -m benchmarks

crash: install ## N kills of real processes, checked
	$(V)/python -m tests.crash.campaign --kills $(N)

crashapps: install ## N strikes at apps of every kind, compared with naive models
	$(V)/python -m tests.crash.kinds --strikes $(N)

sim: install ## SEEDS seeds of the broker under the simulator
	$(V)/python -m tests.simulation --seeds $(SEEDS)

simworkers: install ## SEEDS seeds of workers in memory: kills, zombies, aborts, lost disks
	$(V)/python -m tests.simulation.workers --seeds $(SEEDS)

simmixes: install ## SEEDS apps put together at random, killed everywhere, compared with themselves
	$(V)/python -m tests.simulation.mixes --seeds $(SEEDS)

interop: install ## other people's clients and tools against our broker
	$(V)/pytest -q -m interop -k '$(CHOSEN)'

lock: install ## pin the dependencies anew
	$(V)/python -m pip install --quiet uv && sh requirements/compile.sh
