# What a newcomer, a contributor and CI type. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo env test test-all lint format lock audit wheel docs clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python on the path that is a 3.11; `make PYTHON=/path/to/python3.11 …` names another.
PYTHON ?= $(shell for name in python3.11 python3 python; do \
	if $$name -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)

help: ## list these targets
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sed 's/:.* ## /\t/' | expand -t 10

demo: env ## tune, test, export and register a network for California housing
	$(BIN)/kerasweep run pipelines/california_housing.yaml

env: $(VENV)/.installed ## the virtual environment, as locked

test: env ## every feature, in three quarters of an hour on two cores
test: CASES := -m 'not thorough'
test-all: env ## and all further cases, tests/thorough.txt

# Two halves side by side, since most tests keep one core busy.
test test-all:
	@half=$$(mktemp) && { \
	$(BIN)/pytest $(CASES) tests/contract tests/unit > $$half 2>&1 & \
	$(BIN)/pytest $(CASES) tests/faults tests/integration; here=$$?; \
	wait $$!; there=$$?; cat $$half; rm $$half; test $$here -eq 0 && test $$there -eq 0; }

lint: env ## style, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env ## rewrite the code in the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: env ## pin what pyproject.toml asks for; UPGRADE=1 takes the newest versions
	$(BIN)/uv pip compile pyproject.toml --quiet $(if $(UPGRADE),--upgrade) --extra search --extra onnx --extra jax --extra server --extra docs --extra dev \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --output-file requirements.lock

# uv audits projects and scripts, so the lock file becomes a script that needs exactly these versions.
audit: env ## known vulnerabilities of the locked packages; asks osv.dev, so it needs a network
	@script=$$(mktemp --suffix=.py) && trap 'rm -f "$$script"' EXIT && { \
		printf '# /// script\n# requires-python = "==3.11.*"\n# dependencies = [\n'; \
		sed -nE 's/^([A-Za-z0-9._-]+==[^ ;\\]+).*/#     "\1",/p' requirements.lock; \
		printf '# ]\n# ///\n'; } > "$$script" && $(BIN)/uv audit --script "$$script"

wheel: env ## dist/kerasweep-….whl
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	@ls dist/*.whl

docs: env ## the documentation site, in docs/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/mkdocs.yml

clean: ## remove what was built; the studies under mlruns/ stay
	rm -rf $(VENV) build dist docs/site platform/kerasweep.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find platform tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "kerasweep needs Python 3.11, and none was found on the path. Install it, or: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not create $(VENV); on Debian and Ubuntu: apt install python3.11-venv" >&2; exit 1; }

# Two stamps, so that a change of pyproject.toml alone reinstalls the package and not everything it stands on.
$(VENV)/.locked: requirements.lock | $(BIN)/python
	@echo "Installing the locked packages into $(VENV) (about 2 GB, a few minutes the first time) …"
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements.lock
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.locked
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@
