# `make demo` and `make test` do all the set-up on a fresh machine, then their job.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1

.PHONY: setup demo test lint science bench bench-repair bench-scan bench-server bench-trace clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

setup: $(READY)

demo: $(READY)
	$(BIN)/heredity demo

test: $(READY)
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

science: $(READY)
	$(BIN)/python -m pytest -m science

bench: $(READY)
	$(BIN)/python -m bench.filter $(if $(PEER),--peer $(PEER))
	$(BIN)/python -m bench.coverage
	$(BIN)/python -m bench.demo
	$(BIN)/python -m bench.digits

bench-repair: $(READY)
	$(BIN)/python -m bench.repair $(if $(QUICK),--quick) $(if $(MINUTES),--minutes $(MINUTES))

bench-scan: $(READY)
	$(BIN)/python -m bench.scan $(if $(QUICK),--quick) $(if $(AGAIN),--again) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only $(ONLY))

bench-server: $(READY)
	$(BIN)/python -m bench.server

bench-trace: $(READY)
	$(BIN)/python -m bench.trace $(if $(MINILM),--third-party $(MINILM))

clean:
	rm -rf .venv heredity-store
