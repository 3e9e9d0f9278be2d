# `just --list` shows these. CI runs `.ci/run`, which is `just test`.

# Everything that CI does
test:
    tests/run

# What CI does, and what is too slow to install for it: docs and dependency rules
check: test
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
    cargo deny check bans licenses sources

# The figures of the README, measured here (as root; about an hour)
figures:
    tests/install
    cargo build --release --locked --bins --examples --benches
    tests/lab/figures
    tests/lab/million
    tests/lab/sbc
    cargo run --release --locked --example logrotate
    tests/lab/kills
    tests/lab/no-gap
    tests/lab/firewall-kills
    tests/lab/keeper
    tests/lab/systemd
    tests/lab/first-start
    cargo bench --bench latency
    tests/bench/awake cargo bench --bench latency
    cargo bench --bench firewall
    cargo bench --bench tail
    cargo bench --bench redos
    tests/lab/other-release
    just oracle-fuzz

# Compare with the installed fail2ban on so many made-up lines, over all of its filters
oracle-fuzz lines="200000" seed="1":
    cargo build --release --locked --bins
    /usr/bin/python3 -B tests/oracle_fuzz.py --lines {{lines}} --seed {{seed}} -- target/release/ringfence examine --jsonl

# Random programs of writing, rotating, truncating and crashing against a model of the log reader
model steps="100000":
    RINGFENCE_MODEL_STEPS={{steps}} cargo test --locked --test watch model -- --nocapture

# Fuzz each target for so many seconds (needs a nightly toolchain, or RUSTC_BOOTSTRAP=1)
fuzz seconds="600":
    for target in $(cargo fuzz list --fuzz-dir tests/fuzz); do \
        cargo fuzz run --fuzz-dir tests/fuzz $target -- -max_total_time={{seconds}} || exit 1; \
    done
