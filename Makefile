# make help lists the targets.

GO ?= go

# How long make storm tries: random worlds for each kind of simulation, and on
# the wire, kills of the daemon between real servers, and time for each fuzz
# target.
WORLDS ?= 5000000
WIRES ?= 20000
KILLS ?= 500
FUZZTIME ?= 10m

# How often make bench copies every site, which sites (see
# deploy/docs/benchmarks.md) and with which other programs.
ROUNDS ?= 7
SITES ?= .
PEERS ?= .

# How many accounts make crowd follows, on which servers (simulated or dovecot),
# and what else the test is told (see deploy/docs/thousands.md).
ACCOUNTS ?= 1000
SERVERS ?= simulated
CROWD ?=

# What the tests have gone through is told at the end.
COUNTED = counts=$$(mktemp); export IMAPSYNCD_COUNTS=$$counts; trap 'status=$$?; cat $$counts; rm -f $$counts; exit $$status' EXIT;

.PHONY: help build test storm lint bench crowd man demo dist clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

build: ## build the program into ./imapsyncd
	$(GO) build -o imapsyncd ./cmd/imapsyncd

# The simulations go beside the rest, which mostly waits for real servers, and
# without the race detector, which is shown a few worlds of each kind. In a world
# one thing happens after the other: on one processor nothing is woken on another
# for it, and the same seed is nearly always the same world.
test: ## all tests; those that need real servers skip without them
	@$(COUNTED) { $(GO) test -timeout 20m -cpu 1 -skip 'Worlds|Lives' ./daemon/simtest && $(GO) test -timeout 20m -cpu 1 -run 'Worlds|Lives' ./daemon/simtest -worlds 100000 && $(GO) test -timeout 20m -run Wire ./daemon -wires 30; } & worlds=$$!; \
	GORACE=atexit_sleep_ms=0 $(GO) test -race -vet=off -ldflags=-w -timeout 20m -parallel 4 ./...; status=$$?; \
	wait $$worlds || status=1; exit $$status

storm: ## the simulations, faults and fuzz targets at length, as root
	@$(COUNTED) set -e; \
	$(GO) test -cpu 1 -timeout 0 ./daemon/simtest -worlds $(WORLDS); \
	$(GO) test -timeout 0 -run Wire ./daemon -wires $(WIRES); \
	$(GO) test -timeout 3h ./cmd/imapsyncd -run TestStorm -kills $(KILLS); \
	$(GO) test -timeout 12h ./cmd/imapsyncd -run 'TestFaults|TestLists|TestNarrow' -storm; \
	for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for fuzz in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$file); do \
			said=$$($(GO) test -timeout 0 $$(dirname $$file) -run '^$$' -fuzz "^$$fuzz\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s 2>&1) || { echo "$$said"; exit 1; }; \
			echo "$$fuzz: $$(echo "$$said" | sed -n 's/.*execs: \([0-9]*\).*/\1/p' | tail -1) executions in $(FUZZTIME)" | tee -a $$counts; \
		done; \
	done

lint: ## what CI checks before the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo 'run gofmt -w on these files'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

bench: ## copy whole sites in competition, then the benchmarks of the parts; as root
	$(GO) test -timeout 0 -v ./daemon/simtest/bench -run 'TestBench/$(SITES)' -rounds $(ROUNDS) -peers '$(PEERS)'
	$(GO) test -run '^$$' -bench . -benchmem ./...

crowd: ## what following thousands of accounts takes, and how soon new mail is there; as root
	$(GO) test -timeout 0 -v ./cmd/imapsyncd -run 'TestCrowd$$' -accounts $(ACCOUNTS) -servers $(SERVERS) $(CROWD)

man: ## write the man pages anew, from the commands and the example
	$(GO) test ./cmd/imapsyncd -run TestManPages -update

demo: ## two servers in memory, a migration, a comparison
	$(GO) run ./cmd/imapsyncd demo

dist: ## .deb, .rpm and tar files into ./dist, the same for the same commit
	deploy/packages/build dist amd64 arm64

clean: ## remove what build and dist leave
	rm -rf imapsyncd dist
