# make search   set up, then run the main job on the embedded example
# make test     set up, then run the tests
# make test-arch  tests of integer arithmetic on emulated processors: x86-64 without VNNI, aarch64
# make check    format, lint and types
# make bench    what is measured, not asserted: prices, solver, pruning
# make bench-latency   of it, what concerns latency tables
# make bench-bits      integer networks on this machine, quantisation without training, HAQ's problem
# make bench-agents    all agents at equal evaluations; goes on where it stopped (MINUTES=60)
# make bench-real      EfficientNet-Lite1 and -Lite2 at 85, 70 and 50 % of their latency here, beside other methods;
#                      goes on where it stopped (REAL="--networks lite1 --budgets 70 --methods ours int8")
# make bench-trained   trains a vision transformer and a detector (some minutes of one core each), then searches both at
#                      half of their measured latency; goes on where it stopped
# make bench-cluster   two workers of one search against one; a sweep of 64 searches through Ray beside some by
#                      themselves; what storages, agents and drivers take, and what 1,000 workers would need
# make bench-trust     what docs/trust.md says: kills, faults, changed files, integers on other processors, budgets on the
#                      clock, errors of devices; goes on where it stopped, and writes the page
#                      (TRUST="--only kills --minutes 20")
# make bench-recovery  what training brings back: ResNet-56 and -20 at half of their MACs in given CPU minutes, the example;
#                      goes on where it stopped (RECOVERY="--networks resnet20 --minutes 5 --seeds 0")
# make bench-trained-bits  ResNet-20 in few bits by each quantizer; goes on where it stopped
#                      (TRAINED_BITS="--rows w4a4 --quantizers lsq --steps 600")
# make scoreboard      every method shown to work, a row each: what has no result yet, and docs/scoreboard.md
#                      (SCOREBOARD="--rows rank-spatial-half --seeds 0")
# make docs            these pages as a site, in build/site
# make dist            the wheel and the source that are published, in dist/
# make fuzz            readers fed with changed files, a million of them (FUZZ="--inputs 10000"); goes on where it stopped
#
# torch from PyPI brings CUDA along. For the CPU build alone:
#   make search PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.PHONY: bench-trained-bits search test test-arch check bench bench-latency bench-bits bench-agents bench-real bench-trained bench-cluster bench-trust bench-recovery scoreboard fuzz docs dist clean

search: $(VENV)/.ready
	@$(BIN)/automl search --target cpu --budget 50%

test: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-arch: $(VENV)/.ready-dev
	@sh tests/test_arch.sh $(BIN)/python

check: $(VENV)/.ready-dev
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.ready-dev
	@for name in pricing solver predict latency profile example latency_search resnet56; do \
		echo "== bench_$$name.py"; $(BIN)/python tests/benchmarks/bench_$$name.py || exit 1; \
	done

bench-latency: $(VENV)/.ready-dev
	@for name in latency profile predict; do \
		echo "== bench_$$name.py"; $(BIN)/python tests/benchmarks/bench_$$name.py || exit 1; \
	done

bench-bits: $(VENV)/.ready-dev
	@mkdir -p build
	@for part in forms policies search; do \
		$(BIN)/python tests/benchmarks/bench_int8.py $$part || exit 1; \
	done
	@$(BIN)/python tests/benchmarks/bench_quantize.py --out build/bits.jsonl
	@$(BIN)/python tests/benchmarks/bench_haq.py --json build/haq.jsonl

MINUTES ?= 60
AGENTS := build/agents

bench-agents: $(VENV)/.ready-dev
	@test -f $(AGENTS)/flowers.pt || $(BIN)/python tests/benchmarks/train_flowers.py --out $(AGENTS)
	@$(BIN)/python tests/benchmarks/bench_agents.py --out $(AGENTS) --minutes $(MINUTES)
	@$(BIN)/python tests/benchmarks/bench_agents.py --out $(AGENTS) --table docs/agents_benchmark.svg

REAL ?=

bench-real: $(VENV)/.ready-dev
	@$(BIN)/python tests/benchmarks/bench_real.py $(REAL)

bench-trained: $(VENV)/.ready-dev
	@for name in vit detector; do \
		test -f build/trained/$$name.pt || \
			OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/train_$$name.py || exit 1; \
	done
	@$(BIN)/python tests/benchmarks/bench_trained.py

bench-cluster: $(VENV)/.ready-dev
	@for name in workers cluster storage scale; do \
		echo "== bench_$$name.py"; \
		OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_$$name.py || exit 1; \
	done
	@echo "== bench_workers.py, ResNet-56"
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_workers.py --trials 24 \
		--model tests/benchmarks/cifar.py:resnet56 --data tests/benchmarks/cifar.py:loaders

TRUST ?=

bench-trust: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_trust.py $(TRUST)

RECOVERY ?=

bench-recovery: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_recovery.py $(RECOVERY)

bench-trained-bits: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_trained_bits.py $(TRAINED_BITS)

SCOREBOARD ?=

scoreboard: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/scoreboard.py $(SCOREBOARD)

FUZZ ?= --inputs 1000000

fuzz: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_fuzz.py $(FUZZ)

docs: $(VENV)/.ready-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

dist: $(VENV)/.ready-dev
	@$(BIN)/python -m hatchling build

clean:
	rm -rf $(VENV)

# The stamps make all but the first call quick; an editable install follows the sources by itself.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once)"
	@$(BIN)/python -m pip uninstall --quiet --quiet --yes automl  # what automl-latency was called before 0.2
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(INSTALL) -e '.[dev]'
	@touch $@
