# Two commands: `make run` and `make test`. Both install what is missing and say what they do.
SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(CURDIR)/.tools/cargo-tools/bin:$(PATH)

DATA ?= signet-data
EDGE_PORT ?= 8443
PLAIN_PORT ?= 8080
AUTHORITY_PORT ?= 9443

.PHONY: help run build test check fmt bench figures chaos soak plugins advisories

SECONDS ?= 60
SEED ?=
EDGES ?= 2000
STOPS ?= 1000

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make run         build in release and start an authority and an edge on this machine (DATA, EDGE_PORT, PLAIN_PORT, AUTHORITY_PORT)
run: build
	@exec target/release/signet dev --data $(DATA) --edge-port $(EDGE_PORT) --plain-port $(PLAIN_PORT) --authority-port $(AUTHORITY_PORT)

## make build       the release binary, target/release/signet
build:
	@scripts/setup run
	cargo build --release --locked -p signet

## make test        everything: format, lints, dependency rules, unit and whole-system tests
test:
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	cargo build --locked --workspace --bins --tests
	plugins/build.sh --if-changed
	cargo test --locked --quiet --manifest-path plugins/Cargo.toml --target-dir target/plugins
	cargo nextest run --locked --workspace --no-fail-fast

## make check       format, clippy, and the dependency rules
check:
	@scripts/setup check
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --log-level error check bans licenses sources

## make fmt         format the code
fmt:
	cargo fmt --all

## make bench       CPU time a request: of the whole edge beside a bare server that only signs, and of the key API
bench: build
	cargo build --release --locked -p loadtest
	target/release/signet-bench --signet target/release/signet
	target/release/signet-bench --signet target/release/signet --kms

## make figures    what a fleet of EDGES costs its authority; how soon edges stop, over STOPS rounds, and are back, an authority of 100,000 keys too; the audit modes; plugins; samples
figures: build
	cargo build --release --locked -p loadtest
	target/release/signet-bench --signet target/release/signet --fleet $(EDGES)
	target/release/signet-bench --signet target/release/signet --stop $(STOPS)
	target/release/signet-bench --signet target/release/signet --restart
	target/release/signet-bench --signet target/release/signet --swap
	target/release/signet-bench --signet target/release/signet --sampling
	cargo run --release --locked -p runtime --example measure
	cargo run --release --locked -p runtime --example neighbour
	target/release/signet plugin build plugins/examples/claim-patterns
	target/release/signet plugin bench plugins/examples/claim-patterns
	cargo run --release --locked -p audit --example spool

## make chaos      faults under load for SECONDS, with SEED if one is given; exit code 1 if a promise was broken (docs/guides/faults.md)
chaos:
	@scripts/setup test
	cargo build --locked --workspace --bins --tests
	target/debug/signet-chaos $(SECONDS) $(SEED)

## make soak        the long versions of tests: 100,000 schedules of the lease protocol, a million signatures, more cases of each algorithm
soak:
	@scripts/setup test
	cargo build --locked --workspace --bins --tests
	SIGNET_LONG_TESTS=1 cargo nextest run --locked --workspace -E 'test(lease::simulation) | test(vectors::cross) | test(key::signing)'

## make plugins     rebuild the example plugins and compare them with the committed ones
plugins:
	cargo build --locked --workspace --bins --tests
	plugins/build.sh

## make advisories  known vulnerabilities in the dependencies (needs the advisory database)
advisories:
	@scripts/setup check
	cargo deny check advisories
