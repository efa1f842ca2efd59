# GNU make 3.81 or later, which macOS has. `make help` lists what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# The steps of a target share the compiler's processors and the work tree.
.NOTPARALLEL:

# Tools by version: raise one here and it is built again. devstack looks for
# temporal in .tools/bin, so its version stands in deploy/devstack, too.
TEMPORAL_VERSION      := v1.5.1
SQLC_VERSION          := v1.31.1
GOLANGCI_LINT_VERSION := v2.15.0
WORKFLOWCHECK_VERSION := v0.6.0

# Where tools are built. Another place can serve several clones.
MILEPOST_TOOLS ?= .tools
TOOLS          := $(abspath $(MILEPOST_TOOLS))/bin
STAMPS         := $(abspath $(MILEPOST_TOOLS))/stamps
TEMPORAL       := $(STAMPS)/temporal@$(TEMPORAL_VERSION)
SQLC           := $(STAMPS)/sqlc@$(SQLC_VERSION)
GOLANGCI_LINT  := $(STAMPS)/golangci-lint@$(GOLANGCI_LINT_VERSION)
WORKFLOWCHECK  := $(STAMPS)/workflowcheck@$(WORKFLOWCHECK_VERSION)
# For the tests, which look for temporal there first.
export PATH    := $(TOOLS):$(PATH)

# Without git, or outside a clone, the version is unknown and the build works all the same.
VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD         = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-X main.version=$(VERSION)"
FUZZTIME     ?= 30s
DATA_DIR     ?= .milepost
SMOKE_BODY   ?= api/smartcar/testdata/payloads/vehicle-state-odometer-v4.json
# Minimising every input of interest for a minute, as is usual, leaves hardly any time for finding them.
FUZZ          = go test -run '^$$' -fuzzminimizetime 10x
# Tests run the binaries, which Go's test cache does not know of: hence -count=1.
TEST          = go test -count=1 -timeout 60m
RACE_PACKAGES = ./db/... ./workflows/... ./activities/... ./api/... ./cmd/internal/...

# $(1) how to test, $(2) packages: all but the stack, and then the stack, whatever
# came of the others. Its tests put load on whole Mileposts and kill what they run
# on; meanwhile no other package may take the processors from them. A shell that
# sourced dev.env names a PostgreSQL that may have ended: the tests start their own.
define test
	@set -eo pipefail; settings=$(DATA_DIR)/dev.env; \
	if grep -qs '^MILEPOST_OWN_POSTGRES=' "$$settings" && grep -qxF "DATABASE_URL=$$DATABASE_URL" "$$settings"; then \
		unset DATABASE_URL; \
	fi; \
	others=$$(go list $(2) | grep -v '/cmd/internal/stack$$'); status=0; \
	$(1) $$others || status=$$?; \
	$(1) ./cmd/internal/stack || status=$$?; \
	exit "$$status"
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## Build bin/milepost and bin/milepost-dev
	$(BUILD) -o bin/milepost ./cmd/milepost
	$(BUILD) -o bin/milepost-dev ./cmd/milepost-dev

.PHONY: run
run: build ## Start PostgreSQL, Temporal, Milepost and a simulated Smartcar; Ctrl-C stops them
	bin/milepost-dev up --data-dir $(DATA_DIR)

.PHONY: smoke
smoke: build ## Post one signed webhook to what `make run` started, and print the answer
	bin/milepost-dev send --data-dir $(DATA_DIR) --new-event --new-delivery $(SMOKE_BODY)

.PHONY: test
test: build $(TEMPORAL) ## Run every test (PostgreSQL is found or installed by the tests)
	$(call test,$(TEST),./...)

.PHONY: test-race
test-race: build $(TEMPORAL) ## Run the tests with the race detector where there is concurrency
	$(call test,CGO_ENABLED=1 $(TEST) -race,$(RACE_PACKAGES))

.PHONY: herd
herd: build $(TEMPORAL) ## Let the tokens of 10,000 vehicles expire in the same minute (takes a quarter of an hour)
	go test -count=1 -timeout 40m ./cmd/internal/stack -run AHerd -v -herd 10000

.PHONY: check
check: lint sql workflows imports generated ## Run every check that is not a test

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Check style and faults
	$(TOOLS)/golangci-lint run

.PHONY: sql
sql: $(SQLC) ## Check that the generated code is that of the queries
	$(TOOLS)/sqlc diff

.PHONY: workflows
workflows: $(WORKFLOWCHECK) ## Check that workflows are deterministic
	$(TOOLS)/workflowcheck -config .workflowcheck.yaml ./workflows/...

.PHONY: imports
imports: ## Check who imports whom
	go test -count=1 ./cmd/internal/imports

# What the work tree holds is compared before and after, uncommitted changes and
# new files included. Index and objects are scratch files; the clone's stay as they are.
.PHONY: generated
generated: $(SQLC) ## Check that generated files and go.mod are up to date
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; mkdir "$$scratch/objects"; \
	clone=$$(cd "$$(git rev-parse --git-path objects)" && pwd); \
	scratch_git() { \
		GIT_INDEX_FILE="$$scratch/index" GIT_OBJECT_DIRECTORY="$$scratch/objects" \
		GIT_ALTERNATE_OBJECT_DIRECTORIES="$$clone" git --no-pager "$$@"; \
	}; \
	scratch_git add --all; before=$$(scratch_git write-tree); \
	$(MAKE) --no-print-directory generate; \
	scratch_git add --all; after=$$(scratch_git write-tree); \
	scratch_git diff --exit-code "$$before" "$$after" || { \
		echo "generated files or go.mod were not up to date; now they are: look at the diff and commit it" >&2; exit 1; \
	}

.PHONY: record
record: build $(TEMPORAL) ## Record histories for the replay test; commit only those that are new
	go test -count=1 ./cmd/internal/stack -run 'Payload|Failed|Vehicle|NoToken|Lost' -record $(CURDIR)/workflows/testdata/replay

.PHONY: generate
generate: $(SQLC) ## Generate code and tidy go.mod
	go generate ./...
	$(TOOLS)/sqlc generate
	go mod tidy

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code
	$(TOOLS)/golangci-lint fmt

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (30s)
	@set -eo pipefail; grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' activities api cmd db workflows | \
	while IFS=: read -r file _ target; do \
		echo "$$file $${target#func }"; \
		$(FUZZ) -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" </dev/null; \
	done

.PHONY: bench
bench: build ## Measure what this machine carries
	bin/milepost-dev bench

.PHONY: clean
clean: ## Remove what was built; data (.milepost) and tools (.tools) stay
	rm -rf bin .artifacts

# A stamp says that a tool of its version is in place. One that is there already,
# of the right version and built by whomever, is not built again.
# $(1) program, $(2) module, $(3) version, $(4) package path below the module, $(5) how long it takes
define tool
	@mkdir -p $(TOOLS) $(STAMPS) && rm -f $(STAMPS)/$(1)@*
	@if ! go version -m $(TOOLS)/$(1) 2>/dev/null | grep -qE "^[[:space:]]mod[[:space:]]$(2)[[:space:]]$(3)([[:space:]]|$$)"; then \
		echo "building $(1) $(3), once; it takes $(5)"; \
		cd / && GOBIN=$(TOOLS) GOFLAGS= go install $(2)$(4)@$(3); \
	fi
	@touch $@
endef

$(TEMPORAL):
	$(call tool,temporal,github.com/temporalio/cli,$(TEMPORAL_VERSION),/cmd/temporal,about five minutes)

$(SQLC):
	$(call tool,sqlc,github.com/sqlc-dev/sqlc,$(SQLC_VERSION),/cmd/sqlc,about five minutes)

$(GOLANGCI_LINT):
	$(call tool,golangci-lint,github.com/golangci/golangci-lint/v2,$(GOLANGCI_LINT_VERSION),/cmd/golangci-lint,about three minutes)

$(WORKFLOWCHECK):
	$(call tool,workflowcheck,go.temporal.io/sdk/contrib/tools/workflowcheck,$(WORKFLOWCHECK_VERSION),,some seconds)
