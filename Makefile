PYTHON ?= python3
DATA ?= phantom
ARGS ?=
TRIALS ?= 8
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install train test test-slow test-gpu test-kill test-faults test-fuzz test-page test-pretrained check docs peers bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medjax needs Python 3.11 or newer: make PYTHON=python3.11 $@")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

train: install
	$(BIN)/medjax train $(DATA) $(ARGS)

# A test that hangs is named and fails, where it would keep all others from ending.
test: install
	$(BIN)/pytest --numprocesses auto --dist worksteal -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true $(ARGS)

test-slow: install
	$(BIN)/pytest -m slow $(ARGS)

test-gpu: install
	$(BIN)/pytest -m gpu $(ARGS)

test-kill: install
	TRIALS=$(TRIALS) $(BIN)/pytest -m kill --numprocesses auto -rA $(ARGS)

test-faults: install
	$(BIN)/pytest -m faults --numprocesses auto $(ARGS)

test-fuzz: install
	$(BIN)/pytest -m fuzz --numprocesses auto $(ARGS)

test-page: install
	$(BIN)/pytest -m browser -rA $(ARGS)

# Logits against PyTorch need `make peers`. MEDJAX_EFFICIENTNET_LITE0 is the path of the package's .whl, MEDJAX_PHOTOGRAPHS that of scikit-image's.
test-pretrained: install
	$(BIN)/pytest -m pretrained -rA $(ARGS)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Executes the pages on the phantom data, offline; any warning or failing cell ends it with an error.
docs: $(VENV)/docs-installed
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --jobs auto -d docs/_build/doctrees docs docs/_build/html $(ARGS)

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

peers: .venv-peers/installed

.venv-peers/installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

bench: install peers
	$(BIN)/python -m benchmarks --data $(DATA) $(ARGS)

clean:
	rm -rf .venv .venv-* runs .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/_build
