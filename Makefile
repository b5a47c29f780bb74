# What people, CI and the README use. `make help` lists it.
#
# Run with sudo, builds are still made as the user who called sudo, with that user's Rust; only the tests that make network
# namespaces run as root.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

ifneq ($(filter-out root,$(SUDO_USER)),)
  USER_HOME := $(shell getent passwd $(SUDO_USER) | cut -d: -f6)
else
  USER_HOME := $(HOME)
endif
CARGO_HOME ?= $(USER_HOME)/.cargo
RUSTUP_HOME ?= $(USER_HOME)/.rustup
export PATH := $(CARGO_HOME)/bin:$(PATH)

# sudo looks commands up in a path of its own (secure_path) and drops the environment: env sets both right again.
RUST_ENV := env "PATH=$(PATH)" "CARGO_HOME=$(CARGO_HOME)" "RUSTUP_HOME=$(RUSTUP_HOME)"
AS_USER := $(if $(filter-out root,$(SUDO_USER)),sudo -u $(SUDO_USER) $(RUST_ENV) "HOME=$(USER_HOME)",)
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo) $(RUST_ENV) KEEP=$(KEEP) LAB_TEST_TIMES=$(LAB_TEST_TIMES)
CARGO := $(AS_USER) cargo
ROOT_CARGO := $(AS_ROOT) cargo

.PHONY: help build release deb setup demo lab test unit test-programs integration one coverage check hooks bench fuzz clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: setup ## build the daemon for development
	$(CARGO) build

release: setup ## build the daemon as it is shipped: target/release/flanneld
	$(CARGO) build --release

deb: release ## build the Debian package: target/debian/flanneld_VERSION_ARCHITECTURE.deb
	$(CARGO) build --quiet --package integration --bin pages
	$(AS_USER) target/debug/pages target/pages
	@$(AS_USER) systemd/debian/build.sh target/release/flanneld target/pages target/debian

setup: ## install what building and testing need (Debian packages), if anything is missing
	@integration/setup.sh
	@command -v cargo >/dev/null || { echo "setup: there is no Rust here; get it from https://rustup.rs" >&2; exit 1; }

HOSTS := 3

lab: build ## a shell that knows the way into HOSTS=3 hosts with an etcd (root)
	@$(CARGO) build --quiet --package integration --bin lab
	@$(AS_ROOT) target/debug/lab $(HOSTS)

demo: build ## three hosts on this machine, and packets across them; KEEP=1 leaves it up
	@$(CARGO) build --quiet --package integration --bin demo
	@$(AS_ROOT) target/debug/demo

# Each test of the lab appends a line to this file.
test: export LAB_TEST_TIMES := $(CURDIR)/target/test-times
test: setup ## everything: unit tests, then hosts and booted nodes with a real kernel and etcd (root)
	@$(AS_USER) mkdir -p target
	@rm -f $(LAB_TEST_TIMES)
	@status=0; \
	integration/times.sh phase build $(MAKE) --no-print-directory test-programs && \
	integration/times.sh phase unit $(MAKE) --no-print-directory unit && \
	integration/times.sh phase lab $(MAKE) --no-print-directory integration || status=$$?; \
	integration/times.sh report; \
	exit $$status

unit: ## tests that need neither root nor network
	$(CARGO) test --quiet

test-programs: build # the lab starts target/debug/flanneld, and tools of its own beside it
	$(CARGO) build --quiet --package integration --bins
	$(CARGO) test --quiet --workspace --no-run

integration: test-programs
	$(ROOT_CARGO) test --package integration --no-fail-fast

one: build ## the tests of the lab whose name has TEST in it: make one TEST=pods_of_three_hosts, or TEST=sid::docker::a_new (root)
	@test -n "$(TEST)" || { echo "one: which test? make one TEST=a_part_of_its_name" >&2; exit 1; }
	@$(CARGO) build --quiet --package integration --bins
	@files=$$(grep -rlE "fn \w*$(lastword $(subst ::, ,$(TEST)))" integration/tests | sed -E 's:integration/tests/([^/.]*).*:--test \1:' | sort -u || true); \
	test -n "$$files" || { echo "one: no test in integration/tests has $(TEST) in its name" >&2; exit 1; }; \
	$(CARGO) test --quiet --package integration --no-run $$files; \
	$(ROOT_CARGO) test --package integration $$files -- $(TEST) --nocapture

coverage: setup ## how much of each file the unit tests execute
	@$(AS_USER) integration/coverage.sh

check: setup ## format, lints, documentation, licences of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- --deny warnings
	$(AS_USER) env RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	for script in integration/*.sh systemd/debian/build.sh vagrant/*.sh .ci/* .githooks/*; do bash -n $$script; done
	for script in systemd/debian/post* systemd/debian/pre* systemd/docker/docker-*; do sh -n $$script; done
	@.ci/test-commit-msg
	@if command -v ruby >/dev/null; then ruby -c vagrant/Vagrantfile; \
	else echo "check: ruby is not installed; the syntax of vagrant/Vagrantfile was not checked"; fi
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --log-level error check bans licenses sources; \
	else echo "check: cargo-deny is not installed; licences and sources of dependencies were not checked"; fi

hooks: ## check the form of each commit message from now on: .githooks/commit-msg
	git config core.hooksPath .githooks

bench: release ## figures, beside a reference from the same run (root); BENCH="join bulk repair packets rules" for some
	@$(CARGO) build --quiet --release --package integration --bins
	@$(AS_ROOT) target/release/bench $(BENCH)

# What cargo-fuzz passes to the compiler, without the sanitizers that only nightly has.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
FUZZ := config lease_key lease_value snapshot
FUZZ_SECONDS := 30

fuzz: setup ## look for input that breaks the parsers; FUZZ_SECONDS=30 for each
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --manifest-path integration/fuzz/Cargo.toml --release \
		--target $$(rustc -vV | sed -n 's/host: //p') --target-dir target/fuzz
	@for target in $(FUZZ); do \
		mkdir -p target/fuzz/corpus/$$target && \
		target/fuzz/*/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=target/fuzz/$$target- target/fuzz/corpus/$$target integration/fuzz/seeds/$$target || exit 1; \
	done

clean: ## remove what was built
	$(CARGO) clean
