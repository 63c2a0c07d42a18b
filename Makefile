# ackwal: build, run and test. Needs Go, git and make; `make help` lists the targets.

GO    ?= go
# Build tags of bin/prometheus. With builtinassets the web pages are compiled
# in, which is the default once `make ui` has made them.
TAGS  ?= $(if $(wildcard build/fork/web/ui/embed.go),builtinassets)
# Leaves out service discovery other than static and file: much less to compile.
LEAN  := remove_all_sd
LEAN_BIN := build/lean

# As in upstream's releases; the race detector sets its own. Everything is
# compiled with one setting, so that builds and tests share Go's cache.
export CGO_ENABLED ?= 0
export GOWORK := off

SYNC := ./upstream-sync.sh
# Tests of the binary are under test/ and have targets of their own; of what is there
# only the benchmark of the agent has tests that need nothing.
UNIT  = $$($(GO) list ./... | grep -v '/test/') ./test/bench/agent/...
RACE  = ./tsdb/... ./storage/...
# Go's own, ten minutes a package, is near for the race detector on a busy machine.
SLOW  = -timeout 30m
# How long `make soak` takes, see there.
SOAK     ?= 10m
KILLS    ?= 1000
KILLTIME ?= 30m

.PHONY: help
help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 14

## Building

.PHONY: build
build: ## bin/prometheus and bin/promtool, complete; TAGS= adds build tags
	$(SYNC) build --tags "$(TAGS)"

.PHONY: build-lean
build-lean: ## the same without service discovery, in build/lean: for tests and trials
	$(SYNC) build --tags "$(LEAN)" --bin $(LEAN_BIN)

.PHONY: assemble
assemble: ## only the fork tree, in build/fork
	$(SYNC) assemble

.PHONY: ui
ui: assemble ## the same with the web pages, see docs/ui.md; needs Node.js and npm
	scripts/build-ui.sh
	$(SYNC) build --tags "builtinassets"

.PHONY: mixin
mixin: ## mixin/out, alerts and dashboards for the durable agent, and their table in docs/operations.md
	GO="$(GO)" scripts/mixin.sh

## Publishing

RELEASE = $(GO) build -o build/tools/release ./scripts/release && build/tools/release
PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64
ARCH ?= amd64

.PHONY: release
release: ## archives, Debian packages, checksums and lists of parts in build/release, see packaging/README.md; PLATFORMS= chooses
	@[ "$(findstring builtinassets,$(TAGS))" ] || echo "WITHOUT THE WEB PAGES: make ui brings them, see docs/ui.md"
	$(RELEASE) --tags "$(TAGS)" --platforms "$(PLATFORMS)" --out build/release
	ACKWAL_RELEASE=$(CURDIR)/build/release $(GO) test -C test/packaging -count=1 -run 'TestArchives|TestChecksums|TestDebianPackage|TestVersionIsShown' .

.PHONY: release-verify
release-verify: ## that `make release` gives the same bytes elsewhere: twice from nothing, for PLATFORMS= (this one); takes long
	@rm -rf build/verify && mkdir -p build/verify
	$(GO) build -o build/tools/release ./scripts/release
	for i in one two; do \
		GOCACHE=$(CURDIR)/build/verify/cache build/tools/release --fork build/verify/fork-$$i --out build/verify/$$i $(if $(filter file,$(origin PLATFORMS)),,--platforms "$(PLATFORMS)") || exit 1; \
		rm -rf build/verify/cache; \
	done
	ACKWAL_RELEASE=$(CURDIR)/build/verify/one ACKWAL_RELEASE_AGAIN=$(CURDIR)/build/verify/two $(GO) test -C test/packaging -count=1 -v -run 'TestReproducible|TestArchives|TestChecksums|TestDebianPackage|TestVersionIsShown' .

.PHONY: image
image: ## the image of what `make release` made, by docker or podman; ARCH=arm64 for the other
	@tool=$$(for t in docker podman; do $$t info >/dev/null 2>&1 && echo $$t && break; done); \
	[ "$$tool" ] || { echo "neither docker nor podman works here"; exit 1; }; \
	version=$$(cat build/release/stage/linux-$(ARCH)/VERSION) && \
	$$tool build --build-arg TARGETARCH=$(ARCH) --build-arg VERSION=$$version --platform linux/$(ARCH) \
		--tag "ackwal:$$(echo $$version | tr + -)" --file packaging/Dockerfile build/release/stage

## Running

.PHONY: run
run: ## receiver, durable agent and example target on loopback; OUTAGE=30s stops the receiver for so long, ONCE=1 all when samples have arrived
	@echo "building the agent: some minutes and 1 GB of modules the first time, seconds later on"
	@$(MAKE) --no-print-directory build-lean
	@$(GO) build -o build/tools/run ./scripts/run
	@build/tools/run --prometheus $(LEAN_BIN)/prometheus --data build/run $(if $(ONCE),--once) $(if $(OUTAGE),--outage $(OUTAGE))

.PHONY: run-clean
run-clean: ## remove the data of `make run`
	rm -rf build/run

## Testing

.PHONY: test
test: fmt vet lint-sources unit test-386 test-race mutation govulncheck e2e disk-short conformance conformance-module compare-test security parity mixin-test requests compliance consumers packaging-short ui-test run-once fork-test rebase-short verify-series-quick ## everything; .ci/run runs this

.PHONY: fmt
fmt: ## fail if a file is not gofmt'ed
	@files=$$(find . -name '*.go' -not -path './build/*' | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "not gofmt'ed:"; echo "$$files"; exit 1; fi

.PHONY: vet
vet: ## go vet, and for a 32-bit and another operating system what runs there
	$(GO) vet ./...
	$(GO) vet -C test/compliance ./...
	GOOS=linux GOARCH=386 $(GO) vet $(RACE)
	GOOS=windows GOARCH=amd64 $(GO) vet $(RACE)

.PHONY: lint
lint: assemble ## upstream's linter with upstream's configuration, on the sources and on the fork
	GO="$(GO)" scripts/lint.sh

.PHONY: lint-sources
lint-sources: ## the same on the sources only
	GO="$(GO)" scripts/lint.sh sources

.PHONY: govulncheck
govulncheck: ## known vulnerabilities in dependencies; says so where the database is out of reach
	@GO="$(GO)" scripts/govulncheck.sh

.PHONY: unit
unit: ## the tests of all packages
	$(GO) test $(SLOW) $(UNIT)

.PHONY: test-race
test-race: ## the tests of what goes into the binary, with the race detector
	@if [ "$$(CGO_ENABLED=1 $(GO) env CC)" ] && command -v $$(CGO_ENABLED=1 $(GO) env CC) >/dev/null; then \
		echo "$(GO) test -race $(SLOW) $(RACE)"; CGO_ENABLED=1 $(GO) test -race $(SLOW) $(RACE); \
	else echo "no C compiler: the race detector is left out"; fi

.PHONY: test-386
test-386: ## the tests of what goes into the binary on a 32-bit platform, where it can run
	@if [ "$$($(GO) env GOHOSTOS GOHOSTARCH | tr -d '\n')" != linuxamd64 ]; then \
		echo "LEFT OUT: tests for 386, since this is not linux/amd64"; \
	elif GOARCH=386 $(GO) test -run '^$$' ./tsdb/internal/frame 2>&1 | grep 'exec format error'; then \
		echo "LEFT OUT: tests for 386, since this kernel runs 64-bit programs only; they are vetted"; \
	else \
		echo "GOARCH=386 $(GO) test $(SLOW) $(RACE)"; GOARCH=386 $(GO) test $(SLOW) $(RACE); \
	fi

.PHONY: mutation
mutation: ## that the model test notices when an invariant breaks: it is built with one defect after the other
	$(GO) test -count=1 -timeout 30m -v ./test/mutation

.PHONY: soak
soak: build-lean ## SOAK=10m of random schedules, and KILLS=1000 kills of real processes, for KILLTIME=30m at the most
	@mkdir -p build
	$(GO) test -count=1 -timeout 0 -v -run '^TestModel$$' ./tsdb/agent/durable -model.time=$(SOAK) -model.steps=120 >build/soak-model.txt 2>&1 || { cat build/soak-model.txt; exit 1; }
	@grep -h ' MODEL ' build/soak-model.txt
	ACKWAL_SOAK_KILLS=$(KILLS) ACKWAL_SOAK_TIME=$(KILLTIME) ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus \
		$(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./test/e2e >build/soak-kills.txt 2>&1 || { cat build/soak-kills.txt; exit 1; }
	@grep -h ' SOAK ' build/soak-kills.txt

.PHONY: e2e
e2e: build-lean ## end-to-end tests with real processes, against that binary; RUN= chooses some
	@rm -f build/e2e-summary.txt
	ACKWAL_E2E_SUMMARY=$(CURDIR)/build/e2e-summary.txt ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -timeout 30m $(if $(RUN),-run '$(RUN)') ./test/e2e ./test/e2e/harness
	@cat build/e2e-summary.txt

.PHONY: disk
disk: build-lean ## the binary on small real file systems: full, broken, filled by others; needs the right to mount
	ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -v -timeout 30m $(if $(RUN),-run '$(RUN)') ./test/disk

.PHONY: disk-short
disk-short: build-lean ## a part of that, which says what it leaves out
	ACKWAL_DISK_SHORT=1 ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -v -timeout 15m ./test/disk

.PHONY: conformance
conformance: build-lean ## the durability suite of conformance/, which we pass and stock's engine fails
	ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus ACKWAL_RECEIVERS=$(CURDIR)/build/receivers $(GO) test -count=1 -v -timeout 15m $(if $(RUN),-run '$(RUN)') ./test/conformance

SUITE ?= github.com/ackwal/ackwal/conformance
.PHONY: conformance-module
conformance-module: ## conformance/ as a module of its own in build/conformance, by the name SUITE: it needs nothing else of this repository
	@rm -rf build/conformance && mkdir -p build && cp -r conformance build/ && cp go.mod go.sum LICENSE build/conformance/
	@find build/conformance -name '*.go' -o -name '*.md' | xargs sed -i.was 's|github.com/ackwal/ackwal/conformance|$(SUITE)|g; s|](\.\./|](https://github.com/ackwal/ackwal/blob/main/|g; s|\./conformance/cmd|./cmd|g'
	@find build/conformance -name '*.was' -delete
	@cd build/conformance && $(GO) mod edit -module=$(SUITE) && \
		{ $(GO) mod tidy || echo "LEFT OUT: go mod tidy of the suite, whose modules cannot all be had here"; } && $(GO) vet -mod=mod ./...

COMPARE = $(GO) build -C test/compare -o $(CURDIR)/build/tools/compare . && build/tools/compare
COMPARED = --results docs/comparison/results.json
RECEIVED = --results docs/comparison/receivers.json

.PHONY: peers
peers: ## vmagent and the OpenTelemetry Collector, in build/peers, from their modules; what cannot be had is left out, and said
	@mkdir -p build/peers
	@$(GO) build -C test/bench/agent/vmagent -o $(CURDIR)/build/peers/vmagent github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent || echo "LEFT OUT: vmagent"
	@$(GO) build -C test/compare/otelcol -o $(CURDIR)/build/peers/otelcol . || echo "LEFT OUT: the OpenTelemetry Collector"

.PHONY: compare
compare: build-lean ## ours, stock's engine and what `make peers` built, through the durability suite: docs/comparison.md; 20 minutes
	$(COMPARE) run $(COMPARED) --binary prometheus=$(LEAN_BIN)/prometheus $(foreach p,$(notdir $(wildcard build/peers/*)),--binary $(p)=build/peers/$(p))
	build/tools/compare write $(COMPARED) --page docs/comparison.md

.PHONY: compare-cost
compare-cost: ## what ours, stock's engine and what `make peers` built cost, for docs/comparison.md; half an hour in which nothing else should run
	ACKWAL_VMAGENT=$(wildcard build/peers/vmagent) ACKWAL_OTELCOL=$(wildcard build/peers/otelcol) scripts/bench.sh agent --rounds 1 --series 50000 --endpoints 1,3 --window 30s --outage 30s --dir build/bench/cost; \
		cp "$$(ls -t build/bench/cost/agent-*.json | head -1)" docs/comparison/cost.json
	$(MAKE) compare-write

.PHONY: compare-write
compare-write: ## docs/comparison.md and docs/receivers.md once more from the results in docs/comparison
	$(COMPARE) write $(COMPARED) --page docs/comparison.md
	build/tools/compare write-receivers $(RECEIVED) --page docs/receivers.md

RECEIVERS := victoria-metrics=victoriametrics/github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics thanos=thanos/github.com/thanos-io/thanos/cmd/thanos cortex=cortex/github.com/cortexproject/cortex/cmd/cortex

.PHONY: receivers
receivers: ## VictoriaMetrics, Thanos and Cortex, in build/receivers, from their modules; half an hour at first; what cannot be had is left out, and said
	@mkdir -p build/receivers
	@for r in $(RECEIVERS); do name=$${r%%=*}; path=$${r#*=}; \
		$(GO) build -tags slicelabels -C test/receivers/$${path%%/*} -o $(CURDIR)/build/receivers/$$name $${path#*/} || echo "LEFT OUT: $$name"; \
	done

.PHONY: receivers-run
receivers-run: build-lean ## our agent with what `make receivers` built behind it, through the durability suite: docs/receivers.md; 25 minutes, for the night
	$(COMPARE) run-receivers $(RECEIVED) --agent $(LEAN_BIN)/prometheus --binary prometheus=$(LEAN_BIN)/prometheus $(foreach p,$(notdir $(wildcard build/receivers/*)),--binary $(p)=build/receivers/$(p))
	build/tools/compare write-receivers $(RECEIVED) --page docs/receivers.md

.PHONY: compare-test
compare-test: ## that docs/comparison.md says what docs/comparison/results.json does
	@if $(GO) list -C test/compare -deps -test ./... >/dev/null; then \
		$(GO) vet -C test/compare . && $(GO) test -C test/compare -count=1 .; \
	else echo "LEFT OUT: the page of the comparison, since modules that draw it cannot be had here"; fi

.PHONY: security
security: build-lean ## no secrets in what the binary writes and shows, no harm by hostile endpoints
	ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -timeout 10m $(if $(RUN),-run '$(RUN)') ./test/security

.PHONY: parity
parity: build-lean ## flags, metrics and requests compared with stock's; RUN= chooses some
	ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -timeout 20m $(if $(RUN),-run '$(RUN)') ./test/parity

.PHONY: mixin-test
mixin-test: build-lean ## alerts and dashboards: that mixin/out is what mixin makes, what they ask for, when they fire
	ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -timeout 20m $(if $(RUN),-run '$(RUN)') ./test/mixin

.PHONY: requests
requests: ## every line of our client's requests compared with stock's, over real connections; RUN= chooses some
	@if [ "$$(CGO_ENABLED=1 $(GO) env CC)" ] && command -v $$(CGO_ENABLED=1 $(GO) env CC) >/dev/null; then \
		CGO_ENABLED=1 $(GO) test -race -count=1 $(SLOW) $(if $(RUN),-run '$(RUN)') ./test/requests; \
	else echo "no C compiler: without the race detector"; $(GO) test -count=1 $(SLOW) $(if $(RUN),-run '$(RUN)') ./test/requests; fi

.PHONY: compliance
compliance: build-lean ## the public compliance suite for senders of remote write
	cd test/compliance && ACKWAL_PROMETHEUS=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -timeout 10m .

.PHONY: packaging-short
packaging-short: build-lean ## examples, unit, Dockerfile, and that what pages name is there; says what it leaves out: a release, or all where its modules cannot be had
	@if $(GO) list -C test/packaging -deps -test ./... >/dev/null; then \
		$(GO) vet -C test/packaging ./... && ACKWAL_PROMTOOL=$(CURDIR)/$(LEAN_BIN)/promtool $(GO) test -C test/packaging -count=1 -v -timeout 10m $(if $(RUN),-run '$(RUN)') .; \
	else echo "LEFT OUT: examples, unit and Dockerfile, since modules that test them cannot be had here"; fi

.PHONY: packaging-test
packaging-test: build-lean ## the same, and a release of the lean binary for this platform, twice: the same bytes
	$(RELEASE) --tags "$(LEAN)" --out build/packaging/one
	$(RELEASE) --tags "$(LEAN)" --fork build/packaging/fork --out build/packaging/two
	ACKWAL_PROMTOOL=$(CURDIR)/$(LEAN_BIN)/promtool ACKWAL_RELEASE=$(CURDIR)/build/packaging/one ACKWAL_RELEASE_AGAIN=$(CURDIR)/build/packaging/two \
		$(GO) test -C test/packaging -count=1 -v -timeout 10m $(if $(RUN),-run '$(RUN)') .

.PHONY: ui-test
ui-test: build-lean ## the web pages in a headless Chromium, page-test with them; what is not installed is left out
	@pages=; if command -v npm >/dev/null; then \
		if scripts/build-ui.sh; then $(SYNC) build --tags "$(LEAN),builtinassets" --bin build/pages || exit 1; pages=$(CURDIR)/build/pages/prometheus; \
		else echo "LEFT OUT: the pages of upstream, which cannot be built here, see above"; fi; \
	else echo "LEFT OUT: the pages of upstream, since npm is not installed"; fi; \
	ACKWAL_PROMETHEUS=$$pages ACKWAL_PROMETHEUS_WITHOUT_PAGES=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -v -timeout 10m ./test/ui

.PHONY: page-test
page-test: build-lean ## of that only the page /delivery: in each state, large and small, light and dark
	ACKWAL_PROMETHEUS_WITHOUT_PAGES=$(CURDIR)/$(LEAN_BIN)/prometheus $(GO) test -count=1 -v -timeout 10m -run '^TestDeliveryPage' ./test/ui

# The module files say only what a user would write; the rest is filled in here.
MODFILE = $(GO) build -mod=mod -modfile=$(CURDIR)/build/consumer
.PHONY: consumers
consumers: assemble ## programs that use our packages: by `replace`, imported, and one that knows only stock's, with and without
	@mkdir -p build/consumer
	@for f in fork direct unchanged stock; do cp go.sum build/consumer/$$f.sum; done
	@cp test/embedder/go.mod build/consumer/fork.mod
	@cp test/embedder/direct.mod build/consumer/direct.mod
	@cp test/consumer/go.mod build/consumer/unchanged.mod
	@grep -v ^replace test/consumer/go.mod >build/consumer/stock.mod
	cd test/embedder && $(MODFILE)/fork.mod -o $(CURDIR)/build/consumer/fork .
	build/consumer/fork
	cd test/embedder && $(MODFILE)/direct.mod -tags direct -o $(CURDIR)/build/consumer/direct .
	build/consumer/direct
	cd test/consumer && $(MODFILE)/unchanged.mod -o $(CURDIR)/build/consumer/unchanged .
	build/consumer/unchanged -expect=all
	cd test/consumer && $(MODFILE)/stock.mod -o $(CURDIR)/build/consumer/stock .
	build/consumer/stock -expect=loss

.PHONY: run-once
run-once: ## `make run`, until samples have arrived after an outage
	$(MAKE) run ONCE=1 OUTAGE=10s

.PHONY: verify-series
verify-series: ## every commit of the series for upstream: builds, vets (386, Windows), passes its tests
	$(SYNC) verify

.PHONY: verify-series-quick
verify-series-quick: ## the same without tests, on this platform only
	$(SYNC) verify --quick

REBASE = -count=1 -timeout 60m -v -run '^TestRebaseThisProject$$' ./scripts/sync
.PHONY: rebase-test
rebase-test: ## the series on all bases and on a checkout, compiled and tested; 5 to 8 minutes each unless tested before
	@mkdir -p build/rebase
	ACKWAL_REBASE_TEST=$(CURDIR)/build/rebase $(GO) test $(REBASE)

.PHONY: rebase-short
rebase-short: ## the older bases without the longest tests, says what it leaves out; 2 to 7 minutes
	@mkdir -p build/rebase
	ACKWAL_REBASE_SHORT=1 ACKWAL_REBASE_TEST=$(CURDIR)/build/rebase $(GO) test $(REBASE)

.PHONY: fork-test
fork-test: ## stock's and our tests in the fork tree, the binary's in both delivery modes
	$(SYNC) test --tags "$(LEAN)"

## Measuring

.PHONY: bench
bench: ## stock and durable compared, see docs/performance.md; BENCH= chooses one, ARGS=--small is quicker; BENCH=agent is the whole agent and takes hours
	scripts/bench.sh $(or $(BENCH),all) $(ARGS)

## Cleaning

.PHONY: clean
clean: ## remove bin and build
	rm -rf bin build
