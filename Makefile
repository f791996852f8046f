# make demo: from nothing to k* per session.  make test: everything, on PostgreSQL and MySQL.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The gate makes a second environment, with the newest Python there is, and gives it half of the tests.
OTHER ?= $(VENV)

TESTS := waiting-postgresql waiting-mysql test-mysql test-postgresql test-plain test-demo test-slow

# Where it is set, as in many images of containers, every process compiles this project's modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test $(TESTS) quick quick-computing quick-rest compiled compiled-other check hooks javascript coverage install mysql browser docs pages

demo: install
	$(BIN)/meso demo

# In parallel, in this order. The tests of workers mostly wait, for workers that die or fall silent; the others are niced,
# because some of the former measure time, those with a server less: they take longest, and would end alone on one core. A
# failure does not keep the rest from being run.
test: install
	$(MAKE) --jobs=5 --keep-going --output-sync=target $(TESTS)

# Where there are such tests (tests/conftest.py checks it): importing all of them takes 5 s.
WITH_SERVER := $(addprefix tests/,page populate_scripts schemas test_docs.py)
WITH_WAITING := $(addprefix tests/,populate_scripts schemas/work)

waiting-postgresql:
	$(BIN)/python -m pytest --backend postgresql -m "db and waits" $(WITH_WAITING)

waiting-mysql:
	$(OTHER)/bin/python -m pytest --backend mysql -m "db and waits" $(WITH_WAITING)

test-postgresql:
	nice -n 3 $(BIN)/python -m pytest --backend postgresql -m "db and not waits and not demo" $(WITH_SERVER)

test-mysql:
	nice -n 2 $(OTHER)/bin/python -m pytest --backend mysql -m "db and not waits" $(WITH_SERVER)

# Half of the tests on PostgreSQL, and all of those that fill its database with the demo.
test-demo:
	nice -n 5 $(BIN)/python -m pytest --backend postgresql -m "db and not waits and demo" $(WITH_SERVER)

test-plain:
	$(COVER) nice -n 5 $(OTHER)/bin/python -m pytest -m "not db and not slow"

# Apart, because coverage is not measured in them: that would take a third more, to add one percent of the code.
test-slow:
	nice -n 5 $(OTHER)/bin/python -m pytest -m "not db and slow"

# Fast feedback: linter and the quick tests that need no database server.
quick: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --jobs=2 --output-sync=target quick-computing quick-rest

# Folders with half of the processor time of the quick tests.
COMPUTING := $(addprefix tests/pipeline/,behavior decoding figures responses signals storage tracking)

quick-computing:
	$(BIN)/python -m pytest -q -m "not db and not slow" $(COMPUTING)

quick-rest:
	$(BIN)/python -m pytest -q -m "not db and not slow" $(addprefix --ignore ,$(COMPUTING))

# Fill numba's cache with the decoding engine and Rastermap (which compiles when it is imported): otherwise each of the
# first processes that need them compiles them again.
CURVE := from pipeline.decoding import neuron_dropping_curve as c; c([[0.0], [1.0]] * 9, [0, 1] * 9, ks=[1])
COMPILE := -c "import rastermap; $(CURVE)"
compiled: install
	$(BIN)/python $(COMPILE)

compiled-other: install
	$(OTHER)/bin/python $(COMPILE)

check: install javascript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Install git hooks: quick checks before each commit (.pre-commit-config.yaml).
hooks: install
	$(BIN)/pre-commit install

# The linter and the type checker of the page's JavaScript; nothing else here needs Node.js.
javascript:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory page/node_modules/installed && npm --prefix page run --silent check; \
	elif [ -n "$$CI" ]; then echo "No npm: CI needs Node.js 18 or newer to check page/static/*.js" >&2; exit 1; \
	else echo "NO NPM, page/static/*.js IS NOT CHECKED. It comes with Node.js (Debian: apt-get install npm)"; fi

page/node_modules/installed: page/package-lock.json
	npm --prefix page ci --silent
	touch $@

# All tests, with coverage of the lines and branches of pipeline/ by those of test-plain: what the gate runs. The variables
# are inherited by every process that a test starts.
COVERED := COVERAGE_FILE=$(CURDIR)/.coverage COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml
coverage: install
	rm -f .coverage .coverage.*
	$(MAKE) test COVER="env $(COVERED)"
	$(OTHER)/bin/coverage combine --quiet
	$(OTHER)/bin/coverage report --include "pipeline/*" --skip-covered --skip-empty

# A real MySQL server for the tests, in a cache folder of the user.
mysql: install
	$(BIN)/python tests/support/mysql_server.py fetch

# A browser for the tests of the page, from Debian's packages; elsewhere set MESO_TEST_BROWSER to any Chromium. The one
# without windows takes two thirds of the processor time.
PACKAGE := DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends
browser:
	command -v chromium-headless-shell || (apt-get update -qq && $(PACKAGE) chromium-headless-shell) || \
	command -v chromium || $(PACKAGE) chromium

install: $(VENV)/installed

# --group needs pip 25.1
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[ingest]" --group dev
	touch $@

# The site, in site/. --strict fails on a broken link and on a docstring that does not match its function; --quiet would
# hide these warnings from --strict as well.
docs: install
	$(BIN)/python -W ignore docs/write_commands.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Regenerate the pages and pictures of the docs that come from the code and are kept in git.
pages: install
	$(BIN)/python -W ignore docs/generate.py
	$(BIN)/python docs/draw_gallery.py
