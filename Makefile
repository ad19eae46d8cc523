# Everything that is needed is built from Go modules into $(CACHE), once: see hack/build-servers.sh and hack/build-tools.sh.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

export SISKIN_CACHE ?= $(HOME)/.cache/siskin
CACHE := $(SISKIN_CACHE)
export GOFLAGS += -buildvcs=false
# Where Go's own archive puts it, which a fresh machine may not have in its PATH.
export PATH := $(PATH):/usr/local/go/bin

VERSION ?= v0.1.0-dev
LDFLAGS := -s -w -X main.version=$(VERSION)
# The number of random worlds of `make worlds`.
WORLDS ?= 20000
# How long `make soak` runs, and the seed of its faults ("": a new one).
FOR ?= 10m
SEED ?=
# ONCE=1: the demo ends by itself and fails if the release did not go as told.
ONCE ?=
# The number of Canaries of `make scale`, and further flags, for example SCALE=--steps=3.
CANARIES ?= 2000
SCALE ?=
# Flags of the benchmark, for example BENCH=--canaries=500.
BENCH ?=
# Without cgo everything but the race detector's tests shares one build cache, which halves a cold run.
export CGO_ENABLED := 0
# The race detector needs a C compiler.
RACE := $(if $(shell command -v gcc),-race)
SUITE = go run ./hack/testsum run -dir bin/tests -name

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run and test

.PHONY: demo
demo: servers build ## Release podinfo on a local cluster, good and bad versions (ONCE=1: end by itself).
	@ONCE="$(ONCE)" SISKIN_LOCALCLUSTER="$(CURDIR)/bin/localcluster" bin/demo

.PHONY: test
test: ## Run everything that must pass: fmt, vet, lint, verify, unit, worlds, e2e.
	@hack/test.sh

.PHONY: unit
unit: servers ## Run unit tests.
	@$(if $(RACE),,echo "WARNING: no gcc: WITHOUT the race detector")
	@CGO_ENABLED=$(if $(RACE),1,0) WORLDS=1000 KUBEBUILDER_ASSETS="$(CACHE)/bin" SISKIN_PROMETHEUS="$(CACHE)/bin/prometheus" \
		$(SUITE) unit -- go test -json $(RACE) -timeout 40m ./api/... ./cmd/... ./pkg/... ./hack/...

.PHONY: worlds
worlds: ## Run the planner in WORLDS random worlds, on all processors.
	@WORLDS=$(WORLDS) $(SUITE) worlds -logs -- go test -json -count=1 -timeout 6h -run '^TestRandomWorlds$$' ./pkg/canary/plan

.PHONY: worlds-million
worlds-million: ## Run the planner in a million random worlds (10 min on 2 idle cores).
	@$(MAKE) --no-print-directory worlds WORLDS=1000000

.PHONY: mutants
mutants: ## Check that the random worlds notice broken planners.
	@$(SUITE) mutants -logs -- go test -json -count=1 -timeout 60m -run 'Mutants' ./pkg/canary/plan

.PHONY: e2e
e2e: servers ## Run API tests on the real API server, and stories on a local cluster.
	@$(SUITE) e2e -- go test -json -count=1 -p 1 -timeout 45m ./e2e/...

.PHONY: soak
soak: servers ## Release under load while faults strike, for FOR=10m (SEED= repeats one); ends in one line "soak: ...".
	@rm -f bin/soak.txt; status=0; \
		FOR=$(FOR) SEED=$(SEED) SOAK_LINE="$(CURDIR)/bin/soak.txt" \
		$(SUITE) soak -logs -- go test -json -count=1 -timeout 24h -run '^TestSoak$$' ./e2e/soak || status=$$?; \
		cat bin/soak.txt || echo "soak: no figures: it did not get that far"; exit $$status

.PHONY: bench
bench: servers build ## Measure the controller at scale; ends in one line "bench: ...".
	@go run ./e2e/bench $(BENCH)

.PHONY: scale
scale: servers build ## Measure how punctual CANARIES rollouts at once are; ends in one line "scale: ...".
	@KUBEBUILDER_ASSETS="$(CACHE)/bin" go run ./e2e/scale --canaries=$(CANARIES) $(SCALE)

##@ Code

.PHONY: build
build: ## Build the binaries into bin/.
	@hack/build.sh '$(LDFLAGS)'

.PHONY: generate
generate: ## Generate deepcopy methods.
	@hack/generate.sh "$(CURDIR)" code

.PHONY: manifests
manifests: ## Generate CRDs, RBAC and docs/api.md.
	@hack/generate.sh "$(CURDIR)" manifests

.PHONY: verify
verify: ## Check that generated files are up to date.
	@hack/verify.sh

.PHONY: fmt
fmt: lint-tool ## Format the code.
	@$(CACHE)/bin/golangci-lint fmt

.PHONY: fmt-check
fmt-check: lint-tool
	@$(CACHE)/bin/golangci-lint fmt --diff

.PHONY: vet
vet:
	@go vet ./...

.PHONY: lint
lint: lint-tool ## Lint the code.
	@$(CACHE)/bin/golangci-lint config verify
	@$(CACHE)/bin/golangci-lint run --timeout 20m ./...

##@ Parts

.PHONY: setup
setup:
	@hack/setup.sh

.PHONY: check
check: setup ## Check that this machine can build and run the local cluster.
	@hack/check.sh

.PHONY: servers
servers: check ## Build the servers of the local cluster.
	@hack/build-servers.sh

.PHONY: lint-tool
lint-tool:
	@hack/build-tools.sh golangci-lint

.PHONY: clean
clean: ## Remove bin/ (the cache outside the tree stays).
	rm -rf bin
