# make demo: from nothing to k* per session.  make test: everything, on PostgreSQL and MySQL.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-postgresql test-mysql check install mysql browser docs

demo: install
	$(BIN)/meso demo

# side by side: much of the time is waiting, for workers that die or fall silent
test: install
	$(MAKE) --jobs=2 --output-sync=target test-postgresql test-mysql

test-postgresql:
	$(BIN)/python -m pytest --backend postgresql

test-mysql:
	$(BIN)/python -m pytest --backend mysql -m db

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# a real MySQL server for the tests, in a cache folder of the user
mysql: install
	$(BIN)/python tests/mysql_server.py fetch

# a browser for the tests of the page, from Debian's packages; elsewhere any Chromium (MESO_TEST_BROWSER)
browser:
	command -v chromium || (apt-get update -qq && apt-get install -qq --no-install-recommends chromium)

install: $(VENV)/installed

# pip has known groups since 25.1
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[ingest]" --group dev
	touch $@

docs: install
	$(BIN)/python -W ignore docs/generate.py
	$(BIN)/python docs/draw_gallery.py
