# Each target does its own set-up: a .venv in this folder, every version pinned by constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 2
# A file's tests share their fixtures, and so a worker; in the order of their names the last files are short ones.
SHARED = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-slow check docs pictures mutants bench readme soak wheel lock

setup: $(READY)

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "vgglass needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv: about 5 GB, most of it torch; some minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## learn handwritten digits, be judged, predict
	$(BIN)/vgglass demo

test: setup ## the quick suite
	$(BIN)/python -m pytest $(SHARED) -m "not slow"

test-slow: setup ## what takes minutes or installs packages, and hypothesis with more examples
	$(BIN)/python -m pytest $(SHARED) -m "slow or hypothesis" --hypothesis-profile=thorough

check: setup ## format, lint, types, and which room may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/test_arrows.py

docs: setup ## the site in build/docs/html and the notebooks beside it, English and Chinese: every cell is run
	$(BIN)/python docs/build.py build/docs

pictures: setup ## those of README.md and README.zh-CN.md, taken of the program at work (needs Chromium)
	$(BIN)/python docs/screenshots.py

bench: setup ## this machine against torchvision and a bare decode loop, in one run; what the glass takes, and the server
	$(BIN)/vgglass bench
	$(BIN)/python benchmarks/prediction.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/ranks.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/glass.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/page.py
	$(BIN)/python benchmarks/teach.py

readme: setup ## the table of speeds in README.md and README.zh-CN.md, measured on this machine
	$(BIN)/python benchmarks/readme.py

mutants: setup ## break ten lines: the quick tests must notice each
	$(BIN)/python tests/mutation_check.py

soak: setup ## ten minutes of everything that the server meets; its memory must stay where it is
	VGGLASS_SOAK=600 $(BIN)/python -m pytest -s -m slow tests/test_serving_soak.py

wheel: setup ## the package as a wheel in dist/, by .venv's own hatchling: nothing is fetched
	$(BIN)/python -m hatchling build -t wheel

lock: ## renew constraints.txt after a change of dependencies (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --all-extras --group dev pyproject.toml -o constraints.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml -o constraints-base.txt -c constraints.txt
