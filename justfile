# What is done often. `just --list` shows it.

# Formatting, and clippy with warnings as errors.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# All tests. Those that want a program that is not there say so and pass; with CI=true they fail.
test *ARGS:
    cargo test --workspace --locked {{ ARGS }}

# All tests five times, and five times beside a load on every core; says which failed. Some hours on two cores.
test-five:
    chaos-tests/test-five.sh

# An hour of load, faults, reloads, deaths of the registry and of instances, and restarts, by hand; `just soak 5` takes five
# minutes. A line each minute; fails if a request did, or if memory or descriptors have grown.
soak MINUTES="60":
    cargo build --release --locked -p outrigger
    cargo run --release --locked -p chaos-tests --bin soak -- {{ MINUTES }}

# The rustdoc, warnings as errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licences, advisories, sources of what is built in.
deny:
    cargo deny check

# Every fuzz target for so many seconds; all of them, or those that are named.
fuzz-smoke SECONDS="60" *TARGETS:
    proxy/fuzz/smoke {{ SECONDS }} {{ TARGETS }}

# Outrigger beside HAProxy, nginx, Envoy and the floor: docs/benchmarks.md.
bench *ARGS:
    cargo bench -p chaos-tests --bench peers -- {{ ARGS }}

# Installs what `bench` and `availability` measure beside.
bench-peers:
    chaos-tests/bench-peers.sh

# What the proxy does for total availability, on sample services.
demo *ARGS:
    cargo run --release --locked -- demo {{ ARGS }}

# All that has to pass.
ci: check doc test deny fuzz-smoke

# Every order in which workers can meet, for what they share.
loom:
    RUSTFLAGS='--cfg outrigger_loom' cargo test -p outrigger --test loom --target-dir target/loom

# What share of user requests succeeds while instances fail, beside the peers: docs/availability.md. All of it takes about
# half an hour on a quiet machine; `--scenario hang --rounds 1` a quarter of a minute.
availability *ARGS:
    cargo run --release --locked -p chaos-tests --bin availability -- {{ ARGS }}

# The whole proxy on a simulated network, under two hundred seeds of faults. Everything is built anew for it, beside what is
# there. OUTRIGGER_SEED=7 runs one seed alone, OUTRIGGER_SEEDS=2000 as many as that.
simulate:
    RUSTFLAGS='--cfg sim' cargo test -p outrigger --test simulation --target-dir target/sim

# How much of a small service's work is of use while it is given too much, beside the best fixed limit: docs/overload.md. In virtual
# time, about an hour; CAPACITY=50 TIMES=10 OUTRIGGER_SEEDS=4 take a part of it, SLOTS, WORKERS and HALVES another.
overload:
    cargo test --profile quick --locked -p outrigger --lib limit::tests::sweep::the_whole_sweep -- --ignored --nocapture
