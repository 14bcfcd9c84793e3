# Everything here wraps a command that also works by hand.

# Build and serve in bench mode.
run:
    cargo run --release

# Everything that must pass.
test *PARTS:
    tests/run {{PARTS}}

# The figures of the README, as ratios against peers of the same run.
bench:
    cargo bench --bench figures

# Kill the service at 500 points of restore, zero and split.
kill-sweep POINTS="500" SEED="1":
    cargo build --release
    python3 tests/counterparts/kill_sweep.py {{POINTS}} {{SEED}}

# Fuzz one target for a while.
fuzz TARGET SECONDS="900":
    cd fuzz && cargo +nightly fuzz run {{TARGET}} -- -max_total_time={{SECONDS}}
