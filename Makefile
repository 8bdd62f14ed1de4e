# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

.PHONY: setup run demo test check format bench lab docs lock clean

setup: $(STAMP)

# hashes make the installation reproducible; --no-deps and --no-build-isolation keep it to what is locked
$(STAMP): requirements/run.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aiops needs Python 3.11 or newer; set PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q aiops
	@touch $@

run: $(STAMP)
	$(BIN)/aiops run

FAULT ?= random
demo: $(STAMP)
	$(BIN)/aiops demo --fault $(FAULT)

# most tests wait for real programs: more of them than there are cores
JOBS ?= 4
test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/aiops check
	$(BIN)/python docs/generate.py --check
	$(BIN)/python bench/tables.py --check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python bench/time_to_page.py
	$(if $(PAGES),$(BIN)/python bench/footprint.py $(PAGES),@echo "bench/footprint.py left out: set PAGES to a folder of recorded metric pages")
	$(BIN)/python bench/incident_cost.py
	$(BIN)/python bench/evaluation.py
	$(if $(LOGS),$(BIN)/python bench/logs.py $(LOGS),@echo "bench/logs.py left out: set LOGS to a folder of labelled log sets")
	$(if $(CASES),$(BIN)/python bench/rca.py $(CASES),@echo "bench/rca.py left out: set CASES to folders of failure cases")
	$(if $(RUNS),$(BIN)/python bench/lab.py $(RUNS),@echo "bench/lab.py left out: set RUNS to folders of lab runs")
	$(BIN)/python bench/tables.py

LAB_STAMP := $(VENV)/.lab-complete
$(LAB_STAMP): requirements/lab.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lab.txt
	@touch $@

# real faults on this machine, two minutes each, recorded with their truth; needs root, and says so before it installs anything
LAB ?= lab-runs
LAB_SEED ?= 1
LAB_RUNS ?= 4
LAB_JOBS ?= 4
LAB_PLAN ?= $(LAB)/plan-$(LAB_SEED)-$(LAB_RUNS)
lab:
	@[ "$$(id -u)" = 0 ] || { echo "make lab needs root: it makes network namespaces, control groups and mounts" >&2; exit 1; }
	@$(MAKE) --no-print-directory $(LAB_STAMP) $(LAB_PLAN)
	$(BIN)/python -m tests.lab campaign $(LAB_PLAN) --out $(LAB) --jobs $(LAB_JOBS) $(if $(LAB_TRAFFIC),--traffic $(LAB_TRAFFIC))

# drawn once, so that a campaign that goes on another day goes on with its own plan
$(LAB_PLAN): | $(LAB_STAMP)
	@mkdir -p $(@D)
	$(BIN)/python -m tests.lab plan --seed $(LAB_SEED) --runs-per-cause $(LAB_RUNS) > $@.new && mv $@.new $@

docs: $(STAMP)
	$(BIN)/python docs/generate.py

# needs pip-tools; the lock holds versions and hashes, no addresses
lock:
	pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --no-header -o requirements/run.txt pyproject.toml
	pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --no-header --allow-unsafe -o requirements/dev.txt requirements/dev.in
	pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --no-header --allow-unsafe -o requirements/lab.txt requirements/lab.in

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
