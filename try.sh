cd /work/wt/sim && export CARGO_TARGET_DIR=/work/target/sim; cargo fmt -p simulator; cargo build --release -p simulator 2>&1 | grep -E "^(warning|error)|-->" | head -40
