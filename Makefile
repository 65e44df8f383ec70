# Every target is a few lines; `make setup` is run by the others and needs only Python 3.11 with venv.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.PHONY: setup run test check bench soak lock clean
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

bench: setup
	$(BIN)/python benchmarks/run.py
