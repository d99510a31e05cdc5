# make help lists the targets.

GO ?= go

.PHONY: help build test lint bench demo clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

build: ## build the program into ./imapsyncd
	$(GO) build -o imapsyncd ./cmd/imapsyncd

test: ## all tests; those that need real servers skip without them
	$(GO) test -race ./...

lint: ## what CI checks before the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo 'run gofmt -w on these files'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

bench: ## the benchmarks of the parts
	$(GO) test -run '^$$' -bench . -benchmem ./...

demo: ## two servers in memory, a migration, a comparison
	$(GO) run ./cmd/imapsyncd demo

clean: ## remove what build leaves
	rm -f imapsyncd
