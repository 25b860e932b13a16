# What a developer runs. `make` lists the targets; PYTHON=... names the interpreter of the venv.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup lint test interop soak chart-tools container container-quick cluster wheel freeze install image demo-image demo bench bench-rollout peers faults docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/ready-for-tests ## make .venv with srvinit and all that its tests need

lint: setup ## ruff, its formatter, and mypy --strict on the package
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict

# Tests wait most of their time, so three run at once; those that count lost requests under load run
# one by one. PARALLEL= runs all so.
PARALLEL ?= --numprocesses=3 --dist=worksteal
test: lint chart-tools ## lint, then unit, model, process, chart, fault, interop and chaos tests
	$(BIN)/pytest $(PARALLEL) tests/unit tests/model tests/process tests/chart tests/faults
	$(BIN)/pytest tests/interop tests/chaos

# With RECYCLES=20 the figures say more. CI=true: a missing program fails.
RECYCLES ?= 5
interop: setup ## recycle every server of docs/recipes.md under load, and write there what it loses: as root
	tests/interop/install.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,interop]'
	CI=true INTEROP_RESULTS=docs/interop.json INTEROP_RECYCLES=$(RECYCLES) \
		$(BIN)/pytest tests/interop/test_servers.py -m ''
	$(BIN)/python docs/generate.py

soak: setup ## chaos, with ever new seeds, for SRVINIT_SOAK_S seconds (3600): as root
	$(BIN)/python tests/chaos/soak.py

chart-tools: setup ## fetch helm, kubectl and the schemas of Kubernetes into .tools, for tests/chart
	$(BIN)/python tests/chart/tools.py

# The most of it in the least time: no Debian is made, and none is downloaded.
ENGINE := pid1 signals shutdown exit_status crash
container-quick: setup ## the part of `container` that takes minutes, and the engine's tests on the installed bundle
	$(BIN)/pytest $(PARALLEL) tests/container -k "not debian and not old and not test_dockerfile"
	@test -x $(PREFIX)/srvinit || { echo "make install first" >&2; exit 1; }
	TESTED_PROGRAM=$(PREFIX)/srvinit $(BIN)/pytest $(PARALLEL) $(wildcard $(ENGINE:%=tests/process/test_%.py))

container: setup ## freeze, then test the bundle in images, with a Docker daemon of its own: as root
	$(BIN)/pytest tests/container

cluster: chart-tools ## freeze, then test the chart in a Kubernetes that $$KUBE_TOOL brings: as root
	$(BIN)/pytest tests/cluster

wheel: setup ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# The Python that is frozen: Debian's by preference, whose build is optimised (a fifth faster).
FROZEN_PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11) $(PYTHON))
PREFIX := /opt/srvinit

freeze: ## freeze srvinit into dist/srvinit, which is /opt/srvinit in an image
	$(FROZEN_PYTHON) packaging/freeze.py --prefix $(PREFIX)

install: ## copy dist/srvinit to /opt/srvinit, where alone it runs
	@test -d dist/srvinit || { echo "make freeze first" >&2; exit 1; }
	rm -rf $(DESTDIR)$(PREFIX)
	mkdir -p $(dir $(DESTDIR)$(PREFIX))
	cp -a dist/srvinit $(DESTDIR)$(PREFIX)

image: ## build the image that holds /opt/srvinit alone
	docker build --target bundle --tag srvinit .

demo-image: ## build an image with a server under srvinit
	docker build --target demo --tag srvinit-demo .

demo: $(VENV)/ready-for-demo ## four uvicorn workers, recycled three times under load: a minute
	$(BIN)/python demo/run.py

bench: setup peers ## measure beside peers; reloads too, for an hour, into docs/benchmarks.md
	$(BIN)/python bench/run.py --json docs/costs.json
	$(BIN)/python bench/report.py --write

bench-rollout: chart-tools ## roll out under load in a Kubernetes that $$KUBE_TOOL brings, by the chart and under tini: as root
	$(BIN)/python bench/rollout.py --json docs/rollout.json

faults: setup ## fail every system call in turn (strace), and write docs/reliability.md: as root
	$(BIN)/python tests/faults/report.py

# What bench/run.py rivals and bench/report.py compare with, in a place of its own: with pip and npm.
peers: ## install what srvinit is measured beside into build/peers
	$(PYTHON) -m venv build/peers/python
	build/peers/python/bin/pip install --quiet --disable-pip-version-check 'supervisor==4.3.0' 'setuptools<81'
	npm install --silent --no-fund --no-audit --prefix build/peers/node pm2@7.0.4
	$(PYTHON) -m venv build/peers/servers
	build/peers/servers/bin/pip install --quiet --disable-pip-version-check gunicorn uvicorn hypercorn granian circus

docs: setup ## write the generated pages of docs/ anew
	for program in docs/generate*.py; do $(BIN)/python $$program || exit 1; done

clean: ## remove all that make has made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "needs python3 of 3.11 or later, with venv" \
		"(Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps keep pip, which takes seconds to find that there is nothing to do, from every run.
$(VENV)/ready-for-tests: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,demo]'
	touch $@ $(VENV)/ready-for-demo

$(VENV)/ready-for-demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@
