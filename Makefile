# `make` alone lists the targets. Everything runs from a fresh clone with Rust, Python 3 and Node.

.DEFAULT_GOAL := help
.PHONY: help demo page test examples lint format typecheck coverage faults bench-store bench-parse bench-gateway fuzz install tools clean up down gateway-ui grafana prometheus

PYTHON ?= python3
CARGO ?= cargo
BUF := .tools/bin/buf
PROTO_IMAGE := proto/ledgerflux.v1.binpb
NAMESPACE := ledgerflux
CONTEXT ?= minikube
KUBECTL := kubectl --context $(CONTEXT) --namespace $(NAMESPACE)

# More arguments for the program or for cargo test: make demo ARGS="--products BTC-USD", make test ARGS="-p domain".
ARGS ?=

# Fails with one clear line when a program is missing: $(call need,program,what it is for).
need = @command -v $(1) >/dev/null 2>&1 || { echo "$(1) is not installed; it is needed to $(2)" >&2; exit 1; }

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: page ## Build and run the whole pipeline on simulated data (more flags: ARGS="...")
	$(call need,$(CARGO),build LedgerFlux (https://rustup.rs))
	$(CARGO) run --locked --profile demo --package ledgerflux -- demo $(ARGS)

page: ## Build the web page, which the next build embeds (without Node: a plain one)
	$(call need,$(PYTHON),build the page)
	@$(PYTHON) scripts/page.py $(PAGE)

# Tests look at the page itself: without Node there is nothing to test.
test coverage examples: PAGE := --required

test: tools page ## Fetch the pinned tools and run every test
	$(CARGO) test --workspace --locked $(ARGS)

examples: page ## Run what the page, README and docs/ show with grpcurl, websocat, Python and Node, as it stands there
	$(call need,$(PYTHON),fetch the pinned tools)
	@$(PYTHON) scripts/tools.py --examples
	$(CARGO) test --workspace --test examples --locked -- --ignored $(ARGS)

lint: tools ## Formatting, clippy, protobuf lint and compatibility, Kubernetes manifests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(BUF) breaking --against $(PROTO_IMAGE)
	$(PYTHON) scripts/manifests.py

format: ## Format the Rust code and the protobuf files
	$(CARGO) fmt --all
	$(BUF) format --write

typecheck: ## Check that everything compiles, without building it
	$(CARGO) check --workspace --all-targets --locked

coverage: tools page ## Test coverage: summary, HTML report under coverage/, fails below the thresholds
	$(PYTHON) scripts/coverage.py $(ARGS)

faults: tools ## Every fault under load, an hour or more, report in target/faults (ARGS="--list", ARGS="--only NAME --seed N")
	FAULTS="$(ARGS)" $(CARGO) test --locked --profile demo --package ledgerflux --test faults -- --ignored --nocapture

bench-store: tools ## How fast the writer, the queries of history and retention are on PostgreSQL, beside its own limits
	$(CARGO) bench --locked --package store --bench write $(ARGS)
	$(CARGO) bench --locked --package ledgerflux --bench history $(ARGS)

bench-parse: ## How fast a ticker frame becomes a tick, beside serde_json
	$(CARGO) bench --locked --package venues --bench parse $(ARGS)

bench-gateway: ## How many WebSocket clients the gateway serves, beside a bare broadcast (ARGS="-- latency" for one part)
	$(CARGO) bench --locked --package gateway --bench fan_out $(ARGS)

# What guides libFuzzer, on any toolchain; only for the target, because build scripts are linked without it.
FUZZ_SECONDS ?= 600
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cdebug-assertions=on -Coverflow-checks=on

fuzz: ## Feed the parsers whatever may come for ten minutes (FUZZ_SECONDS=60 for one), beginning with the recordings
	$(call need,c++,compile libFuzzer)
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --locked --release --package venues-fuzz \
		--target $(FUZZ_HOST) --target-dir target/fuzz
	@mkdir -p target/fuzz/corpus
	target/fuzz/$(FUZZ_HOST)/release/fuzz-frames -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=5 \
		-rss_limit_mb=1024 -artifact_prefix=target/fuzz/ $(ARGS) target/fuzz/corpus tests/data

install: ## Say what is missing on this machine and fetch the pinned tools
	$(PYTHON) scripts/prerequisites.py
	$(PYTHON) scripts/tools.py
	$(PYTHON) scripts/page.py
	$(PYTHON) scripts/manifests.py --install

tools:
	$(call need,$(PYTHON),fetch the pinned tools)
	@$(PYTHON) scripts/tools.py

clean: ## Remove everything that was built or fetched, and the data of the demo
	$(CARGO) clean
	rm -rf .tools .ledgerflux coverage gateway/web/embed/page gateway/web/node_modules gateway/web/src/gen

up: ## Bring the system up on minikube (with skaffold, or docker and kubectl; docs/deploy.md)
	CONTEXT=$(CONTEXT) scripts/cluster.sh up

down: ## Remove the system and its data from minikube (the cluster itself stays)
	CONTEXT=$(CONTEXT) scripts/cluster.sh down

gateway-ui: ## Forward the gateway of the cluster to http://127.0.0.1:8000
	$(call need,kubectl,talk to the cluster)
	@echo "the page: http://127.0.0.1:8000 (Ctrl-C ends)"
	@$(KUBECTL) port-forward service/gateway 8000:8000

grafana: ## Forward Grafana of the cluster to http://127.0.0.1:3000
	$(call need,kubectl,talk to the cluster)
	@echo "Grafana: http://127.0.0.1:3000 (Ctrl-C ends)"
	@$(KUBECTL) port-forward service/grafana 3000:3000

prometheus: ## Forward Prometheus of the cluster to http://127.0.0.1:9090
	$(call need,kubectl,talk to the cluster)
	@echo "Prometheus: http://127.0.0.1:9090 (Ctrl-C ends)"
	@$(KUBECTL) port-forward service/prometheus 9090:9090
