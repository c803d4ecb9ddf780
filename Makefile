# The project's recipes. Continuous integration calls these and nothing else.
# A fresh machine needs a Rust toolchain, and for `make test` apt-get or the packages that it names.

.PHONY: run test sim check fmt lint doc outside crash certify bench instructions image fuzz clean help

CARGO := cargo
CARGO_FLAGS := --locked
SEEDS := 100000
FIRST := 0
KILLS ?= 300
STORE ?= sqlite
FUZZ_S ?= 20
PROFILE := --release
ONLY :=
ROUNDS := 3
QUICK :=
ARGS :=

help: ## Says what there is.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: ## Builds and starts the sandbox on 127.0.0.1:8080 (gRPC and JSON) and 127.0.0.1:9090 (operations).
	$(CARGO) run $(CARGO_FLAGS) $(PROFILE) -- serve $(ARGS)

test: ## Installs what the tests need if it is missing, and runs all of them.
	conformance/install
	$(CARGO) test $(CARGO_FLAGS) --no-fail-fast
	conformance/outside/run
	conformance/deployed/compose
	conformance/certify/look
	conformance/certification/look

sim: ## Simulates SEEDS runs in which everything goes wrong, from the seed FIRST on (make sim SEEDS=100000).
	ONBILL_SIM_SEEDS=$(SEEDS) ONBILL_SIM_FIRST=$(FIRST) $(CARGO) test $(CARGO_FLAGS) --release --test conformance simulation::seeds

check: fmt lint doc ## Format, lints and documentation; warnings are errors.

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(CARGO_FLAGS) --no-deps --document-private-items

outside: ## Runs the clients that are not ours against the built binary: Python, Node, curl, buf, schemathesis.
	$(CARGO) build $(CARGO_FLAGS)
	conformance/outside/run

crash: ## Kills gateways (STORE=postgres: stores too) at random moments under load, KILLS times (300), and compares all.
	ONBILL_CRASH_STORE=$(STORE) ONBILL_CRASH_KILLS=$(KILLS) $(CARGO) test $(CARGO_FLAGS) --test conformance -- --nocapture crash::

certify: ## Certifies a sandbox of this build over both faces; the report is target/certify/index.html.
	$(CARGO) build $(CARGO_FLAGS)
	conformance/certify/make

bench: ## Measures the gateway beside what it is held against; the report is target/bench/bench.html (ONLY=json ROUNDS=3 QUICK=1).
	conformance/bench/peers
	$(CARGO) bench $(CARGO_FLAGS) --bench contest -- --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

instructions: ## Counts the instructions of calls in the debug build, and says which have grown by more than 5 %.
	$(CARGO) build $(CARGO_FLAGS)
	conformance/bench/instructions

image: ## Builds deploy/Containerfile and runs what comes out: not root, read-only, no capabilities. As root, on Debian.
	conformance/install image
	$(CARGO) build $(CARGO_FLAGS)
	conformance/deployed/image

fuzz: ## Fuzzes each reader of foreign bytes for FUZZ_S seconds (20), where there is a C++ compiler.
	conformance/fuzz/run $(FUZZ_S)

clean: ## Removes everything that was built.
	$(CARGO) clean
