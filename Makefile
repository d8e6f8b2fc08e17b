# make demo and make test do everything on a fresh machine with Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet -c constraints.txt
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find src -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: demo nano prefer prefer-full test test-all test-browser test-long check bench soak docs clean

# Its seed was picked by reading what fourteen of them write.
demo: $(VENV)/.core ## install the core, then write with the starter
	$(BIN)/inkfish write "Once upon a time" --seed 1 --max-tokens 120

nano: $(VENV)/.test ## train a small model on a text file in about three minutes and write with it: make nano TEXT=file.txt
	$(BIN)/inkfish pretrain $(or $(TEXT),$(error give a text: make nano TEXT=file.txt)) --recipe recipes/nano.toml --out runs/nano
	$(BIN)/inkfish write "" --model runs/nano --max-tokens 200

# People label on the page of `inkfish prefer label` instead of `simulate`. All goes on where it was stopped.
OUT ?= runs/prefer
PREFER := $(BIN)/inkfish prefer
SENTIMENT := --recipe recipes/prefer-sentiment.toml
LABELS := --store $(OUT)/labels.sqlite
LEARN = $(PREFER) optimize $(DATA) $(LABELS) $(SENTIMENT)
COMPARE = $(PREFER) compare $(DATA) $(SENTIMENT)
prefer: $(VENV)/.test ## learn a preference from labels, half an hour: make prefer DATA=stories/
	$(PREFER) sample $(or $(DATA),$(error give texts: make prefer DATA=stories/)) $(LABELS) $(SENTIMENT)
	$(PREFER) simulate $(LABELS) $(SENTIMENT)
	$(PREFER) reward $(LABELS) --out $(OUT)/reward $(SENTIMENT)
	$(LEARN) --reward $(OUT)/reward --out $(OUT)/policy
	$(COMPARE) --model $(OUT)/policy --out $(OUT)/report.json

# RLOO learns from each response once and is done in a quarter of PPO's time, so penalties and numbers of labels are tried with
# it. A line that begins with - may fail: guards stop the run without a penalty, and rewards of too few labels.
RLOO = $(LEARN) --algorithm rloo --batch 32 --minibatch 32 --epochs 1 --save-every 8
FEWER := 150 300 600 1200
prefer-full: prefer ## and RLOO, DPO, no KL penalty, best-of-n, fewer labels, the frontier: two hours
	$(RLOO) --reward $(OUT)/reward --out $(OUT)/rloo
	$(LEARN) --out $(OUT)/dpo --algorithm dpo --batch 32 --minibatch 32 --episodes 4480 --save-every 20
	$(RLOO) --reward $(OUT)/reward --out $(OUT)/weak --kl 0.03 --kl-target 0 --stop-kl 50
	-$(RLOO) --reward $(OUT)/reward --out $(OUT)/free --kl 0 --kl-target 0 --episodes 4096
	for run in rloo dpo; do $(COMPARE) --model $(OUT)/$$run --out $(OUT)/report-$$run.json; done
	$(COMPARE) $(foreach run,policy rloo dpo weak free,--frontier $(OUT)/$(run)) --reward $(OUT)/reward \
	  --best-of 64 --count 256 --out $(OUT)/frontier.json
	-for n in $(FEWER); do \
	  $(LEARN) --out $(OUT)/dpo-$$n --algorithm dpo --limit $$n --batch 16 --minibatch 16 --episodes 1600 && \
	  $(COMPARE) --model $(OUT)/dpo-$$n --out $(OUT)/report-dpo-$$n.json; \
	  $(PREFER) reward $(LABELS) --out $(OUT)/reward-$$n $(SENTIMENT) --limit $$n --batch 8 --epochs 2 && \
	  $(RLOO) --reward $(OUT)/reward-$$n --out $(OUT)/rloo-$$n && \
	  $(COMPARE) --model $(OUT)/rloo-$$n --out $(OUT)/report-$$n.json; done

test: $(VENV)/.test ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not long and not browser"

test-all: $(VENV)/.test ## all tests but the long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not long and not browser"

test-browser: $(VENV)/.browser ## the pages in Chromium, which must be installed (CHROMIUM says where)
	$(BIN)/python -m pytest -m browser tests/browser

test-long: $(VENV)/.test ## the long ones: native code under sanitizers
	$(BIN)/python -m pytest -m long

check: $(VENV)/.test ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench ## writing, serving and training as ratios against peers: an hour; make bench QUICK=--quick a few minutes
	$(BIN)/python benchmarks/decode.py $(QUICK) $(if $(LLAMA),--llama $(LLAMA)) --out build/bench
	$(BIN)/python benchmarks/serving.py $(if $(LLAMA),--llama $(LLAMA)) --out build/bench
	$(if $(QUICK),,$(BIN)/python benchmarks/training.py)

soak: $(VENV)/.test ## half an hour of mixed load on the server: no 5xx, flat memory
	$(BIN)/python benchmarks/soak.py --minutes 30

docs: $(VENV)/.test ## write the pages that quote the program
	$(BIN)/python docs/make_commands.py && $(BIN)/python docs/make_papers.py

clean: ## forget the environment and what was built
	rm -rf $(VENV) build

# The core, as a user installs it: no torch.
$(VENV)/.core: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

# The engines that writing is measured against; llama.cpp's programs are built apart, see benchmarks/peers/llama.py.
$(VENV)/.bench: $(VENV)/.test
	$(INSTALL) -e ".[bench]"
	@touch $@

# What the tests need on top.
$(VENV)/.test: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[train,test,check,evaluate]"
	@touch $@ $(VENV)/.core

# What the browser's tests need on top of that.
$(VENV)/.browser: $(VENV)/.test
	$(INSTALL) -e ".[browser]"
	@touch $@
