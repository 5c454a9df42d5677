PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
GOAL ?= Summarize notes/2026-10-02-incident-gull-rock.md and save the summary to summary.md.
WORKSPACE := build/workspace
export GOAL

.PHONY: run test check fmt studio clean

# A fresh copy of the example files, so that the shipped ones stay as they are. Exit code 3: it waits for a person.
run: $(VENV)/.local
	@rm -rf $(WORKSPACE)
	@mkdir -p build
	@cp -R examples/workspace $(WORKSPACE)
	$(VENV)/bin/agentic run --workspace $(WORKSPACE) "$$GOAL"

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest

check: $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

fmt: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

studio: $(VENV)/.dev
	$(VENV)/bin/langgraph dev

clean:
	rm -rf $(VENV) build dist

# Installs again only when the dependencies change; the code itself is installed editable.
$(VENV)/.local $(VENV)/.dev: $(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name it with make PYTHON=...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
