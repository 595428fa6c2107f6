# Tools are pinned: Go tools in go.mod, the others in .ci/tools.sh.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export GOFLAGS := -mod=readonly -buildvcs=false
VALETKEY_SERVERS ?= $(HOME)/.cache/valetkey/servers
export VALETKEY_SERVERS
FUZZTIME ?= 30s
BENCHTIME ?= 4s

.PHONY: help
help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the binaries into bin/.
	go build -trimpath -o bin/ ./cmd/...

.PHONY: demo
demo: ## Replay the incident: once with the operator's rights, once through valetkey.
	@testdata/servers/build.sh minio vault awscli openssh
	@mkdir -p bin
	@go build -trimpath -o bin/ ./cmd/...
	@go build -trimpath -o bin/demo ./testdata/demo
	@PATH="$(CURDIR)/bin:$$PATH" bin/demo

.PHONY: servers
servers: ## Build the real servers that the tests run (cached).
	@testdata/servers/build.sh

.PHONY: test
test: servers ## Run every test, with the race detector and on the real servers.
	go test -race -count=1 -p 2 -timeout 30m ./...
	cd testdata/iam/oracle && go test -count=1 ./...

.PHONY: lint
lint: ## Vet and lint the Go code and the wire contract.
	go vet ./...
	@.ci/golangci.sh
	@.ci/buf.sh lint
	@.ci/conformance.sh

.PHONY: generate
generate: ## Generate Go from the proto files.
	@.ci/buf.sh generate

.PHONY: check-generate
check-generate: ## Fail where the generated code differs from the proto files.
	@.ci/buf.sh check

.PHONY: generate-actions
generate-actions: ## Fetch the newest catalogue of AWS actions, and print what changed.
	@.ci/actions.sh

.PHONY: bench
bench: servers build ## Print one table of what a grant costs, each row beside its reference.
	go run ./broker/brokertest/bench -valetkeyd bin/valetkeyd -each $(BENCHTIME)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s).
	@.ci/fuzz.sh $(FUZZTIME)
