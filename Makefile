# `make run`: a cluster on this machine. `make test`: every test. `make bench`: how fast it is. All install what is missing first.
# The target directory is outside of the clone, so that RocksDB is compiled once a machine and not once a clone.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/holdfast/target
SEEDS ?= 20000

.PHONY: run test bench mistakes coverage build install
.NOTPARALLEL:

run: build
	tests/run-cluster

# The process tests start the binaries that `build` left beside the test executables.
test: build
	cargo test --release --workspace --no-fail-fast
	$(CARGO_TARGET_DIR)/release/simulator --seeds $(SEEDS)
	$(CARGO_TARGET_DIR)/release/simulator --search --seeds 500
	$(CARGO_TARGET_DIR)/release/mistakes --within 1000

# Measures us beside etcd and a bare gRPC echo, and writes docs/benchmarks.md; half an hour on a quiet machine. A part
# of it: make bench BENCH='--clients 64,256 --bytes 100 --failovers 0'
bench: build
	$(CARGO_TARGET_DIR)/release/bench --docs docs $(BENCH)

# Plants mistakes and has each found, in a target directory of its own.
mistakes: build
	$(CARGO_TARGET_DIR)/release/mistakes $(MISTAKES)

# Which lines of the cores and the log the simulator reaches.
coverage:
	.ci/coverage

# All targets of the whole workspace, always: a part of it would be built with other features, and RocksDB twice.
build: install
	cargo build --release --workspace --all-targets

install:
	.ci/install
