# Everything here wraps a command that also works by hand.

# Build and serve in bench mode.
run:
    cargo run --release

# Everything that must pass.
test *PARTS:
    tests/run {{PARTS}}

# The figures of the README, as ratios against peers of the same run.
bench: (dist "x86_64")
    METERD_STATIC=target/dist/meterd-x86_64 cargo bench --bench figures

# Kill the service at 500 points of restore, zero and split.
kill-sweep POINTS="500" SEED="1":
    cargo build --release
    python3 tests/counterparts/kill_sweep.py {{POINTS}} {{SEED}}

# The conformance suite on a bench with every class allowed, on its own record, and on a mock by Prism.
conformance:
    cargo build -q --release && tests/run conformance

# Break a healthy meter in every way that is known, and try each with every rule there is.
mutants *NAMES:
    cargo build -q --release
    METERD=$PWD/target/release/meterd cargo test -q -p meter-conformance --test mutants -- --all {{NAMES}}

# Attack the service in every known way, with and without the limits of a small machine; NAMES choose some.
attack *NAMES:
    cargo build -q --release
    cargo run -q --example attack -- {{NAMES}}

# Many random sequences of requests against the whole service and the model of its database.
sequences COUNT="200":
    METERD_SEQUENCES={{COUNT}} cargo test -q --test service_model

# Fuzz one target for a while.
fuzz TARGET SECONDS="900":
    FUZZ_TARGETS={{TARGET}} FUZZ_SECONDS={{SECONDS}} tests/run fuzz

# Fuzz every target.
fuzz-all SECONDS="180":
    FUZZ_TARGETS=all FUZZ_SECONDS={{SECONDS}} tests/run fuzz

# All that is given away, or the named parts of it, with checksums into target/dist.
dist *PARTS:
    init/dist.sh {{PARTS}}

# A meter in QEMU, x86 or arm: every test that needs a whole machine, or the named ones.
vm ARCH="x86" *MODULES: (dist if ARCH == "arm" { "armv7" } else { "x86_64" })
    cargo build -q -p meter-conformance
    python3 tests/vm/run.py {{ARCH}} {{MODULES}}
