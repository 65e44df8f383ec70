# Every target is a few lines; `make setup` is run by the others and needs only Python 3.11 with venv.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.PHONY: setup run test check bench bench-peers soak mutants docs lock clean
setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Shunter needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The last command takes the shell's place, so that Ctrl-C reaches the service and nothing between.
run: setup
	@$(BIN)/python examples/quickstart/hints.py $(PORT) & \
	exec $(BIN)/shunter start -c examples/quickstart/shunter.yaml --set runtime.web.port=$(PORT)

test: setup
	$(BIN)/pytest -n 2 --dist worksteal -q

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/quickstart/quickstart

bench: setup
	$(BIN)/python benchmarks/run.py

PEERS := benchmarks/peers/.venv

# Beside ProcessPoolExecutor, LitServe and Gunicorn, which have an environment of their own.
bench-peers: setup $(PEERS)/.done
	$(BIN)/python benchmarks/peers.py

$(PEERS)/.done: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The long forms of the fault tests and simulations: minutes, not seconds.
soak: setup
	SHUNTER_SOAK=14 $(BIN)/pytest -n 2 --dist worksteal -q -m "fault or soak" --timeout 1800

# Without each guard in turn: the tests must notice. The better part of an hour.
mutants: setup
	$(BIN)/python scripts/mutants.py

docs: setup
	$(BIN)/python scripts/configuration.py
	$(BIN)/python scripts/diagram.py

lock:
	$(BIN)/python -m pip install --quiet uv
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links -q -o requirements.lock
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile benchmarks/peers/requirements.in -c requirements.lock --universal \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -q \
		-o benchmarks/peers/requirements.txt

clean:
	rm -rf .venv $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
