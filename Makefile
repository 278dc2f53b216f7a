# Every target sets up what it needs: `make test` on a fresh clone is enough.
# Another interpreter: make test PYTHON=python3.12 (after `make clean`). More arguments for pytest:
# make test ARGS="-k gunicorn". Against the newest versions, not those of requirements-dev.txt:
# make test LATEST=1.

PYTHON ?= python3
ARGS ?=
# Most tests wait for processes: two of them for each processor.
JOBS ?= $(shell expr 2 \* $$(nproc 2>/dev/null || echo 1))

LATEST ?=

# With LATEST=1 in a place of its own, so that neither is made anew because of the other.
VENV := $(if $(LATEST),.cache/latest,.venv)
# Always `python -m`: a console script's first line names the directory it was installed in.
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# The versions and hashes of all that is installed there.
PINNED := requirements-dev.txt
# A directory that does not exist yet would be an error to mypy.
TYPED := $(wildcard src tests examples benchmarks scripts)

# The optional distribution in C, where it can run.
NATIVE := $(if $(filter Linux-x86_64 Linux-aarch64,$(shell uname -s)-$(shell uname -m)),$(VENV)/.native)

# Other libraries that elect leaders in an engine, in a place of their own.
PEERS := .cache/fleet-peers
PINNED_PEERS := benchmarks/fleet-peers.txt

# What the suites of other libraries of locks need, and the tool of mutation testing, each in a place of its own.
SUITES := .cache/suites
MUTATION := .cache/mutation

# The tools of `make audit` and `make sbom`, in a place of their own.
AUDIT := .cache/audit

export PYTHON

.DEFAULT_GOAL := help
OLD_GUNICORN := .cache/gunicorn-25
.PHONY: help venv native wheels lock audit sbom peers mutation packages check lint types format test test-slow test-pythons fuzz model matrix fleet fleet-peers chaos demo demo-fleet bench docs docs-serve man build clean

help:
	@echo "make native     build leaderlock-native, the keeper, into .venv; make venv does so too"
	@echo "make demo       see a leader killed and replaced, five times"
	@echo "make demo-fleet  see a container cut off, its leader die, and another one lead (as root)"
	@echo "make check      format, lint and types"
	@echo "make test       the tests; make test-slow: the ones that take long"
	@echo "make test-pythons  a part of the tests with Python 3.13, or OTHERS='3.10 3.12'"
	@echo "make fuzz       hostile input for all that parses, MINUTES=10; FUZZ_SEED=1 repeats a run"
	@echo "make model      docs/model-results.md: every state of the lock's protocol, by Spin"
	@echo "make matrix     docs/matrix.md: what each server can do, by its tests"
	@echo "make fleet      docs/fleet-results.md: fleets under faults, ROUNDS=20; ONLY=Redis: a part of them"
	@echo "make fleet-peers  docs/comparison.md: the same faults for other libraries (as root)"
	@echo "make chaos      strike real processes with random faults: SEED=1 MINUTES=5 (as root)"
	@echo "make peers      docs/comparison.md: filelock's, portalocker's, CPython's and tini's tests; ONLY=init"
	@echo "make mutation   docs/proof.md: which changes of the code the tests notice; ONLY=lock/record.py"
	@echo "make bench      the benchmarks, side by side"
	@echo "make docs       the documentation, in site/; make docs-serve: look at it"
	@echo "make audit      ask osv.dev about the pinned versions; SERVICE=pypi: ask PyPI"
	@echo "make sbom       the bills of materials (CycloneDX), in dist/"
	@echo "make lock       pin what pyproject.toml asks for, in requirements-dev.txt; LATEST=1: the newest"
	@echo "make format     format the code and fix what ruff can fix"
	@echo "make man        write the manual pages anew, in docs/man"
	@echo "make build      wheel and sdist, in dist/"
	@echo "make wheels     the wheels of leaderlock-native for x86-64 and aarch64, in dist/"
	@echo "make clean      remove everything that make has made"

venv: $(STAMP) $(NATIVE)

# -qq hides pip's progress and warnings, not its errors.
# A venv without a working pip is what a failed or a moved one looks like: it is made anew.
$(STAMP): pyproject.toml $(if $(LATEST),,$(PINNED))
	@scripts/debian-packages python3-venv
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing leaderlock and its tools into $(VENV)"
ifeq ($(LATEST),)
	@# Every file by its hash; the build back end is one of them, so that nothing is fetched for the build.
	@$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes -r $(PINNED)
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
else
	@$(RUN) -m pip install -qq --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[all,dev]'
endif
	@touch $@

native: $(NATIVE)

# Without a compiler or Python's headers, leaderlock works as it does without the extra.
$(VENV)/.native: $(STAMP) $(shell find native/keeper native/src native/*.* -type f -not -path '*.egg-info/*')
	@scripts/debian-packages gcc libc6-dev python3-dev
	@if command -v gcc >/dev/null && $(RUN) -c 'import os, sysconfig as s; \
			exit(not os.path.exists(s.get_path("include") + "/Python.h"))'; then \
		$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
			--force-reinstall ./native; \
	else echo "no gcc, or no Python.h: leaderlock-native is not built"; fi
	@touch $@

# Adds what pyproject.toml asks for and the file lacks; with LATEST=1 it takes the newest version of
# everything. One file serves Python 3.10 and newer on any processor. Its tool has a venv of its own:
# what mends the file must not depend on what the file says.
lock:
	@scripts/debian-packages python3-venv
	@.cache/lock/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .cache/lock
	@.cache/lock/bin/python -m pip install -qq --disable-pip-version-check 'uv>=0.13,<0.14'
	@.cache/lock/bin/python -m uv pip compile --quiet --universal --python-version 3.10 --all-extras \
		--generate-hashes --no-emit-index-url --no-emit-package leaderlock --no-emit-package leaderlock-native \
		--custom-compile-command 'make lock' $(if $(LATEST),--upgrade) \
		--output-file $(PINNED) pyproject.toml
	@.cache/lock/bin/python -m uv pip compile --quiet --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' $(if $(LATEST),--upgrade) \
		--output-file $(PINNED_PEERS) benchmarks/fleet-peers.in
	@.cache/lock/bin/python -m uv pip compile --quiet --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' $(if $(LATEST),--upgrade) \
		--output-file scripts/audit.txt scripts/audit.in
	@.cache/lock/bin/python -m uv pip compile --quiet --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' $(if $(LATEST),--upgrade) \
		--output-file scripts/wheels.txt scripts/wheels.in
	@.cache/lock/bin/python -m uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' $(if $(LATEST),--upgrade) \
		--output-file benchmarks/peers-suites.txt benchmarks/peers-suites.in
	@.cache/lock/bin/python -m uv pip compile --quiet --universal --python-version 3.10 \
		--generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' $(if $(LATEST),--upgrade) \
		--output-file scripts/mutation.txt scripts/mutation.in

$(AUDIT)/.installed: scripts/audit.txt
	@scripts/debian-packages python3-venv
	@$(AUDIT)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Status 3, which make shows as "Error 3": the service could not be asked, so nothing is known.
SERVICE ?= osv

audit: $(AUDIT)/.installed
	@$(AUDIT)/bin/python scripts/audit.py $(SERVICE) $(PINNED) $(PINNED_PEERS) scripts/audit.txt

# Two bills: what `pip install leaderlock[all]` brings, and all that `make` installs to build and to test.
SBOM := -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --mc-type library --output-reproducible

sbom: venv $(AUDIT)/.installed
	@mkdir -p dist
	@$(RUN) scripts/runtime_pins.py all $(PINNED) | $(AUDIT)/bin/python $(SBOM) -o dist/leaderlock.cdx.json -
	@$(AUDIT)/bin/python $(SBOM) -o dist/leaderlock-dev.cdx.json $(PINNED)
	@ls dist/*.cdx.json

$(OLD_GUNICORN): tests/integrations/gunicorn-25.txt $(STAMP)
	@rm -rf $@
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --target $@ -r $<
	@touch $@

packages: $(OLD_GUNICORN)
	@scripts/debian-packages util-linux procps openssl tini dumb-init systemd docker-compose netdata-core prometheus chromium fonts-dejavu-core qemu-system-x86 e2fsprogs xfsprogs btrfs-progs fuse3 bash-completion zsh fish mandoc logrotate
	@# Not apache2, whose package starts a service.
	@scripts/debian-packages postgresql-15 pgbouncer zookeeper etcd-server redis-server iproute2 iptables gcc spin gdb strace
	@scripts/debian-packages redis-tools apache2-bin libapache2-mod-wsgi-py3
	@scripts/debian-packages uwsgi-core uwsgi-plugin-python3 uwsgi-plugin-gevent-python3 python3-uwsgidecorators
	@# What the machine of tests/nfs is made of: unpacked, since nothing of it is to run here.
	@scripts/unpack-debian-packages .cache/debian busybox-static iproute2 linux-image-cloud-amd64 netbase nfs-common nfs-kernel-server rpcbind

check: lint types

lint: venv
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

types: venv
	$(RUN) -m mypy $(TYPED)

format: venv
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

test: venv packages
	$(RUN) -m pytest -n $(JOBS) -m "not slow" $(ARGS)

# Those that measure, or load the machine, run one at a time. Status 5 is pytest's "no test was selected".
# By groups: tests/nfs boots one machine for all of its tests.
test-slow: venv packages
	$(RUN) -m pytest $(PATIENT) -n $(JOBS) --dist loadgroup -m "slow and not alone" $(ARGS) || [ $$? -eq 5 ]
	$(RUN) -m pytest $(PATIENT) -m "slow and alone" $(ARGS) || [ $$? -eq 5 ]

PATIENT := -o faulthandler_timeout=1200

# With other Pythons, where they are installed, what differs from one to the next: threads, forks, the end of
# the interpreter, imports, coroutines, and the libraries that interop subclasses.
SELECTED := tests/test_lock.py tests/test_aio.py tests/test_lead.py tests/test_fork.py tests/test_once.py \
	tests/test_late_imports.py tests/test_requirements.py tests/test_repository.py tests/interop \
	tests/integrations/test_multiprocessing.py

OTHERS ?= 3.13

test-pythons: packages
	@for python in $$(scripts/other-pythons $(OTHERS)); do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "Python $$version"; \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=.cache/python$$version \
			ARGS="-q $(SELECTED)" || exit; \
	done

# Hostile input for all that parses; a part of it runs in each `make test`. ONLY=URLs: one of the targets.
MINUTES ?= 10

fuzz: venv
	@$(RUN) -m tests.fuzz --minutes $(MINUTES) --only "$(ONLY)"

model: venv
	@scripts/debian-packages spin gcc
	@$(RUN) -m tests.model

# One at a time: failover is measured.
matrix: venv packages
	rm -f .matrix
	MATRIX=$(CURDIR)/.matrix $(RUN) -m pytest -q tests/integrations/test_matrix.py -k test_cell
	$(RUN) -m tests.integrations.matrix .matrix
	rm -f .matrix

# Every fault strikes every kind of fleet so many times, in half an hour; only for root.
ROUNDS ?= 20
ONLY ?=

fleet: venv packages
	$(RUN) -m tests.fleet.rounds --rounds $(ROUNDS) --only "$(ONLY)"

# Every fault of these seeds, one after the other; a failing one is shrunk to a short script in .cache/chaos.
SEED ?= 1
MINUTES ?= 5

chaos: venv packages
	$(RUN) -m tests.chaos --seed $(SEED) --minutes $(MINUTES) $(ARGS)

demo: venv
	@$(RUN) examples/demo.py

$(PEERS)/.installed: $(PINNED_PEERS)
	@scripts/debian-packages python3-venv
	@$(PEERS)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The same faults strike leaderlock and other libraries, in six minutes; only for root.
fleet-peers: venv packages $(PEERS)/.installed
	$(RUN) -m benchmarks.fleet_peers $(PEERS)/bin/python

$(SUITES)/.installed: benchmarks/peers-suites.txt
	@scripts/debian-packages python3-venv
	@$(SUITES)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(SUITES)
	@$(SUITES)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Other projects' own tests, with the originals and with leaderlock: 15 minutes.
peers: venv packages $(SUITES)/.installed
	$(RUN) -m benchmarks.peers $(SUITES)/bin/python $(ONLY)

$(MUTATION)/.installed: scripts/mutation.txt
	@scripts/debian-packages python3-venv
	@$(MUTATION)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(MUTATION)
	@$(MUTATION)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Hours for all; ONLY=deadman.py: one file. A run that is broken off goes on where it stopped.
# SECONDS_EACH=600 breaks each file off after that time.
mutation: venv packages $(MUTATION)/.installed
	$(MUTATION)/bin/python scripts/mutation.py $(RUN) $(ONLY)

demo-fleet: venv
	@scripts/debian-packages util-linux postgresql-15 iproute2 iptables
	@$(RUN) -m examples.demo_fleet

bench: venv packages
	@scripts/debian-packages wrk
	@$(RUN) -m benchmarks $(ARGS)
	@$(RUN) -m benchmarks.comparison

# Strict: a link that leads nowhere is an error.
docs: venv
	$(RUN) -m sphinx --quiet --fail-on-warning --keep-going -b html -d .cache/doctrees docs site

docs-serve: docs
	$(RUN) -m http.server --bind 127.0.0.1 --directory site 8000

man: venv
	$(RUN) -m leaderlock.cli.manual docs/man

WHEELS := .cache/wheels

$(WHEELS)/.installed: scripts/wheels.txt
	@scripts/debian-packages python3-venv
	@$(WHEELS)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(WHEELS)
	@$(WHEELS)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

wheels: $(WHEELS)/.installed
	@scripts/native-wheels $(WHEELS)/bin/python

build: venv
	rm -rf dist
	$(RUN) -m build --no-isolation
	$(RUN) -m twine check --strict dist/*

clean:
	rm -rf $(VENV) dist site native/build native/src/*.egg-info .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
