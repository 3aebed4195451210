# One command each: `make help` lists them. Settings come after the target: make run TORCH=cpu ARGS="optimizer=sgd".

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements.lock)

# Which build of torch: the one asked for, else the one that is installed, else the default one.
INSTALLED := $(patsubst $(VENV)/.torch-%,%,$(firstword $(wildcard $(VENV)/.torch-*)))
TORCH := $(or $(TORCH),$(INSTALLED),default)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test sweep report dashboard lint format signatures bench docs docs-api docs-site lock slurm-up slurm-down clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  ARGS="…"        overrides for run, sweep and report; options for test and bench'
	@echo '  TORCH=cpu       install the CPU-only build of torch; TORCH_INDEX=URL names an index that has it'
	@echo '  TORCH=default   install the build of the index that pip is configured with'
	@echo '  PYTHON=…        the Python to make .venv with'

run: $(VENV)/.installed ## train the default experiment: real handwritten digits
	@$(PY) -m launcher $(ARGS)

test: $(VENV)/.tested ## run every test that needs neither a GPU nor the network
	@$(PY) -m pytest -n $(or $(WORKERS),auto) --dist worksteal $(ARGS)

sweep: $(VENV)/.installed ## train once for each of three learning rates, and compare
	@$(PY) -m launcher -m $(or $(ARGS),optimizer.lr=3e-4,1e-3,3e-3)

report: $(VENV)/.installed ## write the page of the newest run
	@run=$$(ls -td outputs/*/*/ 2>/dev/null | head -n 1); \
	if [ -z "$$run" ]; then echo "no run under outputs/ yet: make run" >&2; exit 2; fi; \
	$(PY) -m launcher action=report run="$${run%/}" $(ARGS)

dashboard: $(VENV)/.dashboard ## serve the curves of all runs and the studies of all sweeps of this folder
	@$(PY) -m launcher.search.dashboard $(ARGS)

lint: $(VENV)/.installed ## check style, format and types
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy

format: $(VENV)/.installed ## put the code into the house's format
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

signatures: $(VENV)/.installed ## take down the arguments of every entry of conf/, after a new one
	@$(PY) -m launcher.config.signature_table

bench: $(VENV)/.bench ## measure start and speed beside other trainers
	@$(PY) benchmarks/run.py $(ARGS)

docs-api: $(VENV)/.installed ## write the page of the public API anew, from the docstrings
	@$(PY) docs/api.py > docs/api.md

docs: $(VENV)/.installed ## check that what the pages name exists and that their commands compose
	@$(PY) -m pytest -q tests/test_docs.py $(ARGS)

docs-site: $(VENV)/.docs ## build the pages as a site, strictly, and serve it (ARGS=--build-only: do not serve)
	@$(PY) docs/build_site.py $(ARGS)

lock: ## write requirements.lock anew, from the ranges in pyproject.toml (Python 3.11, the oldest that we support)
	@rm -rf .venv-lock
	@$(or $(PYTHON),python3.11) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "make lock needs Python 3.11: its pins must be good for every newer one too" >&2; exit 2; }
	@$(or $(PYTHON),python3.11) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install -q $(TORCH_FROM) torch==$(TORCH_VERSION)$(if $(filter cpu,$(TORCH)),+cpu)
	@.venv-lock/bin/python -m pip install -q -e '.[dev]'
	@$(call freeze,requirements.lock,Everything that is needed to run and to check the checkout)
	@.venv-lock/bin/python -m pip install -q -e '.[docs]'
	@$(call freeze_beyond,requirements-docs.lock,What the site of docs/ needs beyond requirements.lock)
	@.venv-lock/bin/python -m pip uninstall -q -y -r requirements-docs.lock
	@.venv-lock/bin/python -m pip install -q -e '.[bench]'
	@$(call freeze_beyond,requirements-bench.lock,What benchmarks/ needs beyond requirements.lock)
	@.venv-lock/bin/python -m pip install -q -r requirements.lock
	@.venv-lock/bin/python -m pip install -q -e '.[test]'
	@$(call freeze_beyond,requirements-test.lock,What the tests need beyond requirements.lock)
	@rm -rf .venv-lock

slurm-up: $(VENV)/.installed ## start a real SLURM of four nodes on this machine (Debian, as root)
	@mkdir -p .slurm && $(PY) -m tests.cluster.slurm up .slurm

slurm-down: $(VENV)/.installed ## end it
	@$(PY) -m tests.cluster.slurm down .slurm

clean: ## remove .venv, caches and build outputs; runs stay
	@rm -rf $(VENV) .venv-lock build dist .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# What pip found, as exact versions; torch without its build, whose own libraries it pins itself.
define freeze
{ echo "# $(2): exact versions, for Python 3.11 and newer. Written by \`make lock\`."; \
  .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | \
  grep -v -E '^(nvidia-|cuda-|triton==)' | sed -e 's/^\(torch==[0-9.]*\).*/\1/'; } > $(1)
endef

define freeze_beyond
$(call freeze,$(1),$(2)); grep -v '^#' requirements.lock | grep -vxFf - $(1) > $(1).tmp; mv $(1).tmp $(1)
endef

# --- the environment: a stamp for each part, so that a second `make run` installs nothing -----------------------

# Prints the first Python that will do after "ok", or else why none does.
define find_python
seen=; \
for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
  version=$$($$python -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue; \
  if ! $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then seen="$$seen $$python is $$version,"; \
  elif ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
    echo "$$python ($$version) has no venv module with pip in it; on Debian and Ubuntu: apt-get install python3-venv"; exit; \
  else echo "ok $$python"; exit; fi; \
done; \
echo "Python 3.11 or newer is needed:$${seen:- none found,} name another with make PYTHON=/path/to/python3"
endef

ifeq ($(shell uname -sm),Linux x86_64)
SIZE_default := the build of your package index: usually the CUDA one, about 2.7 GB to download and 4.5 GB on disk (TORCH=cpu: 0.2 GB)
else
SIZE_default := the build of your package index, 0.1 to 3 GB to download
endif
SIZE_cpu := the CPU-only build, about 0.2 GB to download
TORCH_FROM = $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

$(VENV)/.made:
	$(if $(filter default cpu,$(TORCH)),,$(error TORCH=$(TORCH): there are TORCH=default and TORCH=cpu))
	$(eval found := $(shell $(find_python)))
	$(if $(filter ok,$(firstword $(found))),,$(error $(found)))
	@echo "Making $(VENV) with $(lastword $(found))"
	@$(lastword $(found)) -m venv $(VENV)
	@touch $@

$(VENV)/.torch-$(TORCH): $(VENV)/.made requirements.lock
	$(if $(SIZE_$(TORCH)),,$(error TORCH=$(TORCH): there are TORCH=default and TORCH=cpu))
	@echo "Installing torch $(TORCH_VERSION): $(SIZE_$(TORCH))"
	@[ -e $@ ] || [ -z "$(INSTALLED)" ] || $(PIP) uninstall -q -y torch
	@grep -v '^torch==' requirements.lock > $(VENV)/others.txt
	@$(PIP) install $(TORCH_FROM) -c $(VENV)/others.txt torch==$(TORCH_VERSION)$(if $(filter cpu,$(TORCH)),+cpu) 2> $(VENV)/pip.log || \
	  { if grep -q 'No matching distribution found for torch' $(VENV)/pip.log && ! grep -q Retrying $(VENV)/pip.log; then \
	      echo "torch $(TORCH_VERSION) as TORCH=$(TORCH) is not in the index that pip uses: name one that has it with TORCH_INDEX=URL$(if $(filter cpu,$(TORCH)),$(comma) or take TORCH=default)" >&2; \
	    else cat $(VENV)/pip.log >&2; fi; exit 1; }
	@rm -f $(VENV)/.torch-*
	@touch $@

$(VENV)/.installed: $(VENV)/.torch-$(TORCH) requirements.lock pyproject.toml
	@echo "Installing the rest of requirements.lock, about 0.25 GB to download"
	@$(PIP) install -qq -r requirements.lock
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed requirements-test.lock
	@echo "Installing requirements-test.lock, about 130 MB to download"
	@$(PIP) install -qq -r requirements-test.lock
	@touch $@

$(VENV)/.dashboard: $(VENV)/.installed requirements-test.lock
	@grep -E '^(bottle|optuna-dashboard)==' requirements-test.lock > $(VENV)/dashboard.txt
	@$(PIP) install -qq -r $(VENV)/dashboard.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.installed requirements-docs.lock
	@$(PIP) install -qq -r requirements-docs.lock
	@touch $@

$(VENV)/.bench: $(VENV)/.installed requirements-bench.lock
	@$(PIP) install -qq -r requirements-bench.lock
	@touch $@

comma := ,
