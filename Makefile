# make       the fast loop
# make ci    exactly what CI runs
# make help  the rest

GO          ?= go
STATICCHECK ?= $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s

# How long the tests of one package may take. Those of most take seconds; a slow
# machine is no reason to end them.
TESTTIME    ?= 20m

# The modules of the repository. What is not the library is a module of its own,
# so that users inherit none of its requirements.
MODULES := $(patsubst %/go.mod,%,$(wildcard ./go.mod internal/*/go.mod))

# Go files written here: folders that begin with _ or . hold generated copies.
GOFILES = find . -name '[._]?*' -prune -o -name '*.go' -print

.DEFAULT_GOAL := fast

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: fast
fast: ## build, vet and quick tests (the default)
	$(GO) build ./...
	$(GO) vet ./...
	$(GO) test -short ./...

.PHONY: ci
ci: tidy-check lint race bench-compile examples nethttp rig otel grpc-versions bench-quick ## everything that CI runs

# The tests of internal/archtest among these check that the documentation's Go
# is a copy of Go that compiles.
.PHONY: race
race: ## all tests with the race detector, those of the simulator in part
	$(GO) test -timeout=$(TESTTIME) -race $$($(GO) list ./... | grep -v /transport/sim)
	$(GO) test -timeout=$(TESTTIME) -race -short ./transport/sim/...
	$(GO) test -timeout=$(TESTTIME) ./transport/sim/...

.PHONY: lint
lint: ## formatting, vet and staticcheck, in all modules
	@bad=$$($(GOFILES) | xargs gofmt -l) || exit 1; \
	if [ -n "$$bad" ]; then echo "not formatted (gofmt -w):"; echo "$$bad"; exit 1; fi
	@set -e; for m in $(MODULES); do \
		echo "$$m: vet, staticcheck"; \
		(cd $$m && $(GO) vet ./... && $(STATICCHECK) ./...); \
	done

.PHONY: tidy-check
tidy-check: ## go.mod and go.sum say what the source needs, in all modules
	@set -e; for m in $(MODULES); do echo "$$m: tidy"; (cd $$m && $(GO) mod tidy -diff); done

.PHONY: bench-compile
bench-compile: ## run each benchmark once
	$(GO) test -run='^$$' -bench=. -benchtime=1x ./...

.PHONY: bench
bench: ## run the benchmarks, with allocations
	$(GO) test -run='^$$' -bench=. -benchmem ./...

.PHONY: examples
examples: ## build the examples
	$(GO) build -o /dev/null ./examples/...

# One go test -fuzz can run one target only.
.PHONY: fuzz
fuzz: ## run each fuzz test for FUZZTIME (10s)
	@$(GOFILES) | grep '_test\.go$$' | xargs grep -n '^func Fuzz' | grep -v '^\./internal/rig/' | \
	sed -E 's/^(.*)\/[^/]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*/\1 \2/' | sort -u | \
	while read -r dir name; do \
		echo "$$dir $$name"; \
		$(GO) test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$dir" || exit 1; \
	done

.PHONY: nethttp
nethttp: ## run net/http's own tests against tulle
	cd internal/rig && $(GO) run ./nethttp

# What a browser shows in time depends on the machine: it may try twice, and goes
# without the race detector, under which transport/admin has its own tests.
.PHONY: rig
rig: ## run the rigs: tulle against real peers
	cd internal/rig && $(GO) test -timeout=$(TESTTIME) -race $$($(GO) list ./... | grep -v /browser)
	cd internal/rig && ($(GO) test -timeout=$(TESTTIME) ./browser || $(GO) test -timeout=$(TESTTIME) -count=1 ./browser)

# The collector is built first, as that takes long and a test's time is bounded.
.PHONY: otel
otel: ## telemetry against a collector and Prometheus
	cd internal/otelcol && $(GO) build -o /dev/null .
	cd internal/otelrig && $(GO) test -timeout=$(TESTTIME) ./...

.PHONY: grpc-versions
grpc-versions: ## tullegrpc's tests with the oldest and the newest gRPC
	internal/rig/grpcversions.sh

.PHONY: bench-quick
bench-quick: ## each contender of the bench once, with its allocations
	cd internal/bench && $(GO) test -timeout=$(TESTTIME) ./...

.PHONY: compare
compare: ## the bench against peers and proxies; writes docs/benchmarks.md and the README's table
	cd internal/bench && ./tools.sh && $(GO) run . -md ../../docs/benchmarks.md -readme ../../README.md

.PHONY: sim
sim: ## the simulator's scores over all scenarios
	$(GO) run ./transport/sim/cmd/tulle-sim -score a,b,c,d,e,f,g,h \
		-policies shortest_expected_delay,linkerd_biased,prequal,kratos,go_zero,finagle,linkerd,least_loaded,least_request,grpc_least_request,round_robin,random

# Not part of ci: it takes SOAKTIME and half as much again.
SOAKTIME ?= 10m
.PHONY: soak
soak: ## churn, faults and updates under load for SOAKTIME (10m), with the race detector
	TULLE_SOAK=$(SOAKTIME) $(GO) test -race -timeout=60m -v -run=Soak ./transport

.PHONY: cover
cover: ## statement coverage, in cover.out
	$(GO) test -short -coverpkg=./... -coverprofile=cover.out ./...
	$(GO) tool cover -func=cover.out | tail -n 1
