# What a person types. The work is done by tools/scripts/ and by mailboat-local (tools/local).
#
#   make demo             set everything up, start the platform, show mail going in and being read
#   make test             set everything up, pass the tests           (ARGS="-k imap" chooses)
#   make test-faults      the fault tests at full length, half an hour  (ARGS="--faults-seed 42" plays a run again)
#   make test-fuzz        hostile input in its full size and for longer (FUZZ_SECONDS=600, FUZZ_SEED=42 plays a run again)
#   make run              the platform in the foreground, Ctrl-C ends it
#   make up / down        the platform in the background              (MB_REPLICAS=2 make up: two of each service)
#   make smoke            prove that mail works on the running platform
#   make status / logs    what runs; what it says                     (ARGS="-f imap_gateway")
#   make lint             every static check
#   make proto            generate libs/proto from proto/
#   make images           the five container images, with docker, podman or buildah (IMAGE_PREFIX, IMAGE_TAG, BASE_IMAGE)
#   make e2e-cluster      the chart on a real cluster, kubectl's current one, in a namespace of its own  (ARGS="--help")
#   make lock             pin requirements*.in in requirements*.txt
#   make clean            end the platform and remove its data, the environment and all caches

SHELL := /bin/bash
VENV := .venv
# The environment holds absolute paths: one made elsewhere (a moved or copied clone) is made anew.
READY := $(VENV)/.ready-$(shell pwd | cksum | cut -d' ' -f1)
LOCAL = $(VENV)/bin/mailboat-local
ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_SEED ?=

.PHONY: help setup demo run up down smoke status logs test test-faults test-fuzz lint proto proto-check images e2e-cluster lock clean
help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

$(READY): requirements-dev.txt requirements-helm.txt tools/scripts/setup tools/scripts/helm $(wildcard */*/pyproject.toml tests/crashpoints/pyproject.toml)
	@tools/scripts/setup $(VENV) $@

demo run up: $(READY)
	@$(LOCAL) $@ $(ARGS)

smoke status logs: $(READY)
	@$(LOCAL) $@ $(ARGS)

# Without .local nothing can be running, and no environment is needed to say so.
down: $(if $(wildcard .local),$(READY))
	@if [ -e .local ]; then $(LOCAL) down $(ARGS); else echo "Nothing is running here."; fi

test: $(READY)
	@$(LOCAL) servers
	@$(VENV)/bin/pytest $(ARGS)

# Each wait in these tests has a limit of its own; the seed of each is in its output.
FAULTS_SECONDS ?= 600
test-faults: $(READY)
	@$(LOCAL) servers
	@$(VENV)/bin/pytest tests/faults -n0 -s --faults-full --faults-seconds $(FAULTS_SECONDS) --durations=0 $(ARGS)

# Atheris, which follows the code's branches, joins in where it can be installed.
test-fuzz: $(READY)
	@$(LOCAL) servers
	@tools/scripts/fuzz $(VENV) $(FUZZ_SECONDS) "$(FUZZ_SEED)" $(ARGS)

lint: $(READY)
	@tools/scripts/lint

proto: $(READY)
	@tools/scripts/proto

proto-check: $(READY)
	@tools/scripts/proto --check

images:
	@tools/scripts/images

e2e-cluster: $(READY)
	@$(VENV)/bin/python -m tests.e2e $(ARGS)

lock: $(READY)
	@tools/scripts/lock

clean: down
	@rm -rf .local $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
