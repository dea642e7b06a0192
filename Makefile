# quasarloop: the two commands of a new user are `make demo` and `make test`.
# Everything is installed into .venv from PyPI, at the versions of constraints.txt (CONSTRAINTS=/dev/null: the newest).

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
CONSTRAINTS ?= constraints.txt
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
# Whole files, so that what their tests share is made once; in order, so that no long one is last.
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder
SIMULATE = $(BIN)/quasarloop simulate --templates $(TEMPLATES) --workers $(JOBS)

# One thread per process: the work is spread over processes (measured faster, see docs/).
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: demo test check coverage bench slow redrock docs docs-test wheel format clean help

help:
	@echo "make demo   install, simulate a sky, run the loop, print where the report is"
	@echo "make test   install, run the tests"
	@echo "make check  ruff, mypy --strict, import order"
	@echo "make coverage  lines that tests run, by room: docs/development/coverage.md"
	@echo "make docs   the site, strictly: build/site/index.html"
	@echo "make docs-test  every command of the guides, on simulated spectra"
	@echo "make wheel  sdist and wheel under dist, tried in an environment of their own"
	@echo "make bench  speed ratios side by side: JSON and a table under bench/"
	@echo "make slow   long statistical tests, and the label-saving study"
	@echo "make redrock  real redrock and desispec on simulated files"

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	# torch first and pinned: an open range would pull gigabytes of CUDA packages.
	$(BIN)/python $(PIP_INSTALL) torch
	$(BIN)/python $(PIP_INSTALL) \
		-e '.[cluster,inspect,specutils]' --group dev
	touch $@

demo: $(STAMP)
	$(BIN)/quasarloop demo --out demo --overwrite

test: $(STAMP)
	$(BIN)/python -m pytest $(SPREAD) -m "not slow and not bench"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_import_order.py tests/test_house_style.py

# The table of docs/development/coverage.md; worker processes and commands count, too. Left out are
# tests that read the project's text, or run again what tests of rooms run.
UNCOVERED := $(addprefix --ignore=tests/,studies fuzz test_notebook.py test_docs.py \
	test_house_style.py test_import_order.py)
coverage: $(STAMP)
	$(BIN)/python -m coverage erase
	COVERAGE_CORE=$$($(BIN)/python -c "import sys; print('sysmon' if sys.version_info >= (3, 12) else 'ctrace')") \
		$(BIN)/python -m coverage run -m pytest $(SPREAD) \
		-m "not slow and not bench and not browser" tests $(UNCOVERED)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python studies/coverage_table.py

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "the site is $(CURDIR)/build/site/index.html; with its search: python -m http.server -d build/site"

docs-test: $(STAMP)
	$(BIN)/python -m pytest -q -m slow tests/test_guides.py

# The wheel finds quasars in an environment that has nothing else; tests of the sdist run on it there,
# the examples of every --help among them, so that a dependency that is not declared ends it.
CLEAN := build/wheel
wheel: $(STAMP)
	rm -rf dist $(CLEAN)
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m venv $(CLEAN)/venv
	$(CLEAN)/venv/bin/python $(PIP_INSTALL) torch
	$(CLEAN)/venv/bin/python $(PIP_INSTALL) dist/*.whl
	cd $(CLEAN) && venv/bin/quasarloop simulate --out sky --objects 40 --seed 1 \
		&& venv/bin/quasarloop classify sky --out quasars.fits
	$(CLEAN)/venv/bin/python $(PIP_INSTALL) pytest pytest-timeout hypothesis
	mkdir $(CLEAN)/sdist && tar -xzf dist/*.tar.gz -C $(CLEAN)/sdist --strip-components 1
	cd $(CLEAN)/sdist && ../venv/bin/python -m pytest -q -p no:cacheprovider \
		tests/test_public_api.py tests/test_lines.py tests/test_grid.py tests/catalogue \
		tests/cli/test_examples.py

bench: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) --group engines
	$(BIN)/python -m benchmarks --out bench
	$(BIN)/python -m pytest -m bench

slow: $(STAMP)
	$(BIN)/python -m pytest $(SPREAD) -m "slow" --timeout 0
	# The label-saving study: runs that docs/measurements/label_saving_runs.jsonl lacks, then page and figure.
	test -d "$(TEMPLATES)" || { echo "set TEMPLATES to a folder of redrock templates"; exit 1; }
	$(SIMULATE) --out study/sky --objects 24000 --seed 21 --population studies/no_blends.toml
	$(SIMULATE) --out study/rare --objects 48000 --seed 23 --population studies/rare_quasars.toml
	$(SIMULATE) --out study/poor --objects 1500 --seed 22 --format sdss \
		--population studies/poor_first_t.toml
	for sky in sky rare poor; do \
		$(BIN)/quasarloop ingest study/$$sky --store study/$$sky/store --workers $(JOBS) || exit 1; done
	$(BIN)/python studies/label_saving.py run --sky study/sky --poor study/poor --cases alike poor
	$(BIN)/python studies/label_saving.py run --sky study/rare --poor study/poor --cases rare
	test -z "$(QUASARLOOP_SHARED)" || \
		$(BIN)/python studies/label_saving_real.py --data $(QUASARLOOP_SHARED)/data
	$(BIN)/python studies/label_saving.py page

# Real redrock and desispec read our files; they live in an environment of their own. A skipped
# test is an error here. The two repositories are cloned where none are named.
QUASARNP_DIR ?= $(VENV)-redrock/QuasarNP
RR_TEMPLATE_DIR ?= $(VENV)-redrock/redrock-templates
redrock:
	test -x $(VENV)-redrock/bin/python || $(PYTHON) -m venv $(VENV)-redrock
	$(VENV)-redrock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)-redrock/bin/python $(PIP_INSTALL) torch
	$(VENV)-redrock/bin/python $(PIP_INSTALL) \
		-e '.[cluster,inspect,specutils,redrock]' --group dev
	# desispec 0.70's step fails under numpy 2.4.
	$(VENV)-redrock/bin/python -m pip install --quiet --disable-pip-version-check 'numpy<2.4'
	test -d "$(QUASARNP_DIR)" || git clone --quiet --depth 1 \
		https://github.com/desihub/QuasarNP "$(QUASARNP_DIR)"
	test -d "$(RR_TEMPLATE_DIR)" || git clone --quiet --depth 1 \
		https://github.com/desihub/redrock-templates "$(RR_TEMPLATE_DIR)"
	QUASARNP_DIR="$(abspath $(QUASARNP_DIR))" RR_TEMPLATE_DIR="$(abspath $(RR_TEMPLATE_DIR))" \
		$(VENV)-redrock/bin/python -m pytest -m redrock
	# Joint redshifts beside redrock's on 300 simulated spectra of each sky, and on real ones.
	test -z "$(QUASARLOOP_SHARED)" || $(VENV)-redrock/bin/python studies/redrock_table.py \
		--out study/redrock --templates $(QUASARLOOP_SHARED)/data/templates/redrock \
		--rrdesi $(VENV)-redrock/bin/python --data $(QUASARLOOP_SHARED)/data \
		--weights src/quasarloop/data/default_weights.h5

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(VENV)-redrock demo bench study build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
