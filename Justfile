# Everything here wraps a command that also works by hand.

# Build and serve in bench mode.
run:
    cargo run --release

# Everything that must pass.
test *PARTS:
    tests/run {{PARTS}}

# The figures of the README, against peers of the same run, and the chart; `--quick` for a glance, or names of sections.
bench *ARGS: (dist "x86_64")
    METERD_STATIC=$PWD/target/dist/meterd-x86_64 cargo bench --bench figures -- {{ARGS}}

# Mixed real use at ten times the expected rate, with faults: does anything grow, is anything lost?
soak MINUTES="20" SEED="1":
    cargo build -q --release
    target/venv/bin/python tests/counterparts/soak.py {{MINUTES}} {{SEED}}

# What is linked into the static binaries, as CycloneDX.
sbom *ARCHES:
    init/sbom.py {{ARCHES}}

# What deny.toml allows, asked of cargo-deny, which is built for some minutes the first time.
deny *CHECKS="licenses bans sources":
    [ -x target/tools/bin/cargo-deny ] || cargo install --locked --root target/tools cargo-deny
    PATH="$PWD/target/tools/bin:$PATH" cargo deny check {{CHECKS}}

# Cut the power and fail the disk at every point of everything that is kept, or at N of each, or of the named ones.
faults N="0" *NAMES:
    cargo build --release --bin meterd
    target/venv/bin/python tests/faults/sweep.py --cuts {{N}} --errors {{N}} {{NAMES}}

# Cut the power of a meter in QEMU 24 times, or N times, over every command that writes.
power-cuts N="24": (dist "x86_64")
    POWER_CUTS={{N}} python3 tests/vm/run.py x86 test_cuts

# The conformance suite on a bench with every class allowed, on its own record, and on a mock by Prism.
conformance:
    cargo build -q --release && tests/run conformance

# Break a healthy meter in every way that is known, and try each with every rule there is.
mutants *NAMES:
    cargo build -q --release
    METERD=$PWD/target/release/meterd cargo test -q -p meter-conformance --test mutants -- --all {{NAMES}}

# Attack the service in every known way, with and without the limits of a small machine; NAMES choose some.
attack *NAMES: (dist "x86_64")
    METERD=target/dist/meterd-x86_64 cargo run -q --example attack -- {{NAMES}}

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
