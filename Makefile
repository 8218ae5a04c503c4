# A machine needs only make and Python >= 3.11 with its venv module.
PYTHON ?= python3
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pyenv's Pythons last: its shims hide those that are not active
export PATH := $(PATH):$(shell printf '%s:' "$$HOME"/.pyenv/versions/3.*/bin)

.DEFAULT_GOAL := help
.PHONY: help demo test check lint wheel lock docs bench clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /make \1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: .venv/bin/cookiecutter ## bake the template with its defaults into demo/ and serve it (HOST, PORT)
	@.venv/bin/cookiecutter --no-input --overwrite-if-exists --output-dir demo .
	@exec $(MAKE) -C demo/*/ run

test: .venv/bin/tox ## test the library and the template, on this Python with the newest dependencies
	@status=0; .venv/bin/tox run -e newest || status=$$?; \
		[ ! -x .tox/newest/bin/python ] || .tox/newest/bin/python tests/servers/programs.py; \
		exit $$status

check: .venv/bin/tox ## run the rest: style, types, other Pythons, a service under load and faults, comparisons
	@# without the Python that make test runs on
	@TOX_SKIP_ENV="$$(.venv/bin/python -c 'import sys; print("py%d%d" % sys.version_info[:2])')" \
		.venv/bin/tox run

lint: .venv/bin/tox ## check style and types
	@.venv/bin/tox run -e lint,types

wheel: .venv/bin/hatchling ## build the library into the template; another wheel gets another version
	@.venv/bin/python tests/wheel.py

lock: .venv/bin/cookiecutter ## renew the locks that the template holds, one per driver
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		for driver in sqlite postgresql mysql; do \
			.venv/bin/cookiecutter --no-input --output-dir "$$folder" . \
				project_slug="a_$$driver" database_url="$$driver:///app" > /dev/null && \
			$(MAKE) -C "$$folder/a_$$driver" lock UPGRADE=1 && \
			sed 1d "$$folder/a_$$driver/requirements.txt" \
				> "{{cookiecutter.project_slug}}/locks/$$driver.txt" || exit 1; \
		done

docs: .venv/bin/tox ## build the documentation
	@.venv/bin/tox run -e docs

bench: .venv/bin/tox ## measure the project side by side with others
	@.venv/bin/tox run -e bench

clean: ## remove all that the other commands made
	@rm -rf .venv .tox demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing." \
			"Name one that is there: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@$(PYTHON) -m venv .venv

.venv/bin/cookiecutter: | .venv/bin/python
	@.venv/bin/pip install --quiet 'cookiecutter>=2.6'

.venv/bin/tox: | .venv/bin/python
	@.venv/bin/pip install --quiet 'tox>=4.30' 'tox-uv>=1.29'

.venv/bin/hatchling: pyproject.toml | .venv/bin/python
	@.venv/bin/pip install --quiet $$(sed -n 's/^wheel = \["\(.*\)"\]$$/\1/p' pyproject.toml)
	@touch $@
