# make run    install what this machine lacks, start cove, run the first example
# make test   the same set-up, then every test            make check  lint, types, import rules, generated files, the guest
# make bench  measure; results in benchmarks/results      make clean  remove what was built here (not /var/cache/cove)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Python would recompile every module at every start.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

export PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

hash = $(shell cat $(1) 2>/dev/null | sha256sum | cut -c1-16)
PROJECT := $(call hash,pyproject.toml sdk/pyproject.toml)
STAMP_RUN := $(VENV)/.stamps/run-$(PROJECT)
STAMP_DEV := $(VENV)/.stamps/dev-$(PROJECT)

TARGET := $(shell uname -m)-unknown-linux-gnu
GUEST := sandboxd/guest/target/$(TARGET)/release/cove-init
GUEST_SOURCES := $(shell find sandboxd/guest -name target -prune -o -type f -print)
CARGO := cargo --quiet

PACKAGES := router sandboxd snapshots policies sdk/cove
PROTOS := $(wildcard sdk/cove/wire/*.proto)

.PHONY: help run test check lint protos facade guest image setup setup-dev bench clean

help:
	@sed -n '1,3s/^# //p' Makefile

run: setup guest image
	$(BIN)/cove up
	$(BIN)/python examples/quickstart.py
	@echo 'cove is up. $(BIN)/cove status shows it, $(BIN)/cove down stops it and frees everything.'

test: setup-dev guest image
	cd sandboxd/guest && $(CARGO) test
	$(BIN)/pytest -n $(WORKERS) --dist loadscope tests/unit tests/integration tests/conformance
	$(BIN)/pytest -n $(WORKERS) --dist loadscope tests/e2e tests/security

check: setup-dev lint
	cd sandboxd/guest && $(CARGO) clippy --all-targets -- --deny warnings && $(CARGO) test

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests benchmarks examples
	$(BIN)/lint-imports
	$(BIN)/python sdk/generate_protos.py --check
	cd sdk && ../$(BIN)/python -m facade --check

protos: setup-dev
	$(BIN)/python sdk/generate_protos.py

facade: setup-dev
	cd sdk && ../$(BIN)/python -m facade

bench: setup-dev guest image
	@sandboxd/host/install.sh benchmarks
	$(BIN)/python -m benchmarks

guest: $(GUEST)

image: setup
	@if [ $$(id -u) = 0 ]; then $(BIN)/python -m sandboxd.base_image build >/dev/null; fi

setup: $(STAMP_RUN)
	@sandboxd/host/install.sh venv cargo

setup-dev: $(STAMP_DEV)
	@sandboxd/host/install.sh venv cargo clippy registry-tests browser-tests

$(GUEST): $(GUEST_SOURCES)
	@sandboxd/host/install.sh cargo
	cd sandboxd/guest && $(CARGO) build --release --target $(TARGET)
	@touch $@

# The one way to the package index is pip: certificates, proxies, indexes and wheel directories are this machine's.
$(STAMP_RUN):
	@sandboxd/host/install.sh venv cargo
	$(call install,-e ./sdk -e .)

$(STAMP_DEV):
	@sandboxd/host/install.sh venv cargo
	$(call install,-e ./sdk -e '.[dev]')
	@touch $(STAMP_RUN)

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cove needs Python 3.11 or newer; PYTHON=... names one")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check $(1)
	@mkdir -p $(dir $@) && touch $@
endef

clean:
	rm -rf $(VENV) sandboxd/guest/target .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
