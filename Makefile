# Every target works from a clean clone with Go, make and git; "make test"
# installs or names what else it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Go's own installer leaves it off the PATH of a plain shell.
export PATH := $(PATH):/usr/local/go/bin

# A clone without tags or history still builds.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOLANGCI := v2.15.0
FUZZTIME ?= 3s
TESTFLAGS ?=

.NOTPARALLEL:
.PHONY: help build demo test tools vet race fuzz bench lint fmt clean

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: ## Build bin/comity, static and reproducible
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/comity ./cmd/comity

demo: build ## Run two domains, an agent and a guarded resource, and check every step
	bin/comity demo

test: tools vet race fuzz ## Vet, all tests with the race detector on a real Postgres, every fuzz target
	@echo; echo "go test, closing lines:"
	@grep -E '^(ok|FAIL|---|panic:)' bin/test.log

tools:
	@fixtures/script/tools.sh

vet:
	go vet ./...

# One Postgres server serves all packages. Everything is built first; then one
# package runs at a time, so that those which put a broker under load have the
# machine to themselves.
race: tools
	@mkdir -p bin
	go build -race ./...
	go run ./fixtures/pg/cmd/withpg -- go test -race -p 1 -timeout 10m $(TESTFLAGS) ./... 2>&1 | tee bin/test.log

fuzz: ## Run every fuzz target for FUZZTIME (3s)
	@fixtures/script/fuzz.sh $(FUZZTIME)

bench: tools ## Run the benchmarks
	@mkdir -p bin
	@packages=$$(fixtures/script/having.sh '^func Benchmark'); \
	[ -n "$$packages" ] || { echo "no benchmarks"; exit 0; }; \
	go run ./fixtures/pg/cmd/withpg -- go test -run '^$$' -bench . -benchmem $$packages | tee bin/bench.log

lint: ## Run golangci-lint, which must be installed
	@command -v golangci-lint >/dev/null || { \
		echo "golangci-lint is not installed; get the pinned version with:" >&2; \
		echo "  go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)" >&2; exit 1; }
	@golangci-lint version --short 2>/dev/null | grep -qxF '$(GOLANGCI:v%=%)' || \
		echo "warning: the pinned version is $(GOLANGCI)" >&2
	golangci-lint run ./...

fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

clean: ## Remove what was built
	rm -rf bin dist
