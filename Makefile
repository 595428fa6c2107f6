# Tools are pinned: Go tools in go.mod, the others in .ci/tools.sh.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export GOFLAGS := -mod=readonly -buildvcs=false
VALETKEY_SERVERS ?= $(HOME)/.cache/valetkey/servers
export VALETKEY_SERVERS
FUZZTIME ?= 30s
BENCHTIME ?= 4s
STRESS ?= 10

.PHONY: help
help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the binaries into bin/: the product's, and what "valetkeyd dev" brings.
	go build -trimpath -o bin/ ./cmd/...
	go build -C cmd/valetkey-target -trimpath -o $(CURDIR)/bin/ .

.PHONY: demo
demo: ## Replay the incident on the S3, IAM and STS of "valetkeyd dev": once with the operator's rights, once through valetkey.
	@testdata/demo/run.sh

.PHONY: demo-full
demo-full: ## The same on real MinIO and Vault, which take minutes to build, once.
	@testdata/demo/run.sh -full

.PHONY: servers
servers: ## Build the real servers that the tests run (cached).
	@testdata/servers/build.sh

.PHONY: test
test: ## Run every test, with the race detector and on the real servers. It says what it builds, and how long that took last time.
	@.ci/test.sh

.PHONY: stress
stress: ## Run every test STRESS (10) times beside a load of its own.
	@.ci/stress.sh $(STRESS)

.PHONY: lint
lint: ## Vet and lint the Go code and the wire contract.
	go vet ./...
	go -C cmd/valetkey-target vet ./...
	@.ci/golangci.sh
	@.ci/buf.sh lint
	@.ci/conformance.sh

.PHONY: generate
generate: ## Generate Go from the proto files.
	@.ci/buf.sh generate

.PHONY: check-generate
check-generate: ## Fail where the generated code differs from the proto files.
	@.ci/buf.sh check

.PHONY: generate-s3calls
generate-s3calls: servers ## Ask MinIO, radosgw and versitygw what they check S3 calls as (minutes), and write the table and the model.
	@go test ./broker/brokertest/s3calls -run TestTable -count=1 -timeout 20m -update
	@git --no-pager diff --stat -- testdata/s3calls scopes/iam/s3calls.txt

.PHONY: generate-actions
generate-actions: ## Fetch the newest catalogue of AWS actions; new ones have to be reviewed.
	@.ci/actions.sh

.PHONY: review-actions
review-actions: ## Take scopes/actions/review into the embedded catalogue.
	go run ./scopes/actions/gen

.PHONY: generate-config
generate-config: ## Write docs/config.md from the comments of valetkeyd's configuration.
	@go test ./cmd/valetkeyd -run TestConfigReference -count=1 -update
	@git --no-pager diff --stat -- docs/config.md

.PHONY: bench
bench: servers build ## Print one table of what a grant costs, each row beside its reference.
	go run ./broker/brokertest/bench -valetkeyd bin/valetkeyd -each $(BENCHTIME)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s).
	@.ci/fuzz.sh $(FUZZTIME)
