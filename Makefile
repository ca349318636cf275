# `make demo` and `make test` are the two commands; each sets up all it needs. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PROTOS := $(wildcard proto/signalexchange/v1/*.proto)
SERVICES := $(wildcard proto/signalexchange/v1/*_service.proto)
APT := $(if $(filter 0,$(shell id -u)),,sudo)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## .venv with locked dependencies, and libsodium and libgomp where they lack

$(STAMP): requirements/dev.txt pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("sodium"))' || \
	  { echo "installing libsodium23"; $(APT) apt-get update -qq && $(APT) apt-get install -y -qq libsodium23; }
	@$(PYTHON) -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("gomp"))' || \
	  { echo "installing libgomp1"; $(APT) apt-get update -qq && $(APT) apt-get install -y -qq libgomp1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(APT) apt-get update -qq && $(APT) apt-get install -y -qq python3-venv; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing locked packages into .venv (a minute or two)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

demo: install ## run the exchange end to end in var/demo (TRANSACTIONS=FILE replays a file, KEEP=1 keeps it up)
	$(BIN)/exchange-hub demo --folder var/demo $(if $(TRANSACTIONS),--transactions "$(TRANSACTIONS)") $(if $(KEEP),--keep)

test: install ## the whole test suite
	@command -v cc >/dev/null || { $(APT) apt-get update -qq && $(APT) apt-get install -y -qq gcc libc6-dev; }
	$(BIN)/pytest -q -n 2 --dist loadgroup

lint: install ## format, lint, strict types, import rules, contract, freshness of generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=clients/python $(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint
	@$(MAKE) --no-print-directory generate OUT=var/generated
	diff -r -x __pycache__ var/generated/signalexchange/v1 clients/python/signalexchange/v1

evaluate: install ## precision and recall of matching on cities nobody tuned on: a table, var/evaluate/report.json, recall.svg
	$(BIN)/exchange-hub evaluate --folder var/evaluate

HANDBOOK := $(wildcard ../shared/data/handbook-2018-04_07.parquet)
evaluate-detector: TRANSACTIONS ?= $(HANDBOOK)
evaluate-detector: install ## what members' detectors catch, alone and together: a table, var/evaluate/detector.json (TRANSACTIONS=FILE)
	$(BIN)/exchange-hub evaluate-detector --folder var/evaluate $(if $(TRANSACTIONS),--transactions "$(TRANSACTIONS)")

bench: install ## the benchmarks: a table and var/bench/report.json
	$(BIN)/python -m tests.bench

OUT ?= clients/python
generate: install ## generate the Python stubs from proto/
	@rm -rf $(OUT)/signalexchange/v1 && mkdir -p $(OUT)/signalexchange/v1
	@touch $(OUT)/signalexchange/v1/__init__.py
	@$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --python_out=$(OUT) --mypy_out=quiet:$(OUT) $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) $(SERVICES)

format: install ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE = var/lock/bin/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-emit-trusted-host --allow-unsafe --strip-extras --no-header
lock: ## compile requirements/*.in anew
	$(PYTHON) -m venv var/lock && var/lock/bin/pip install -q pip-tools
	$(COMPILE) -o requirements/dev.txt requirements/dev.in
	$(COMPILE) -c requirements/dev.txt -o requirements/run.txt requirements/run.in

.PHONY: help install demo test lint evaluate evaluate-detector bench generate format lock
