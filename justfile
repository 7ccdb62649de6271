# What is done often. `just --list` shows it.

# Outrigger beside HAProxy, nginx, Envoy and the floor: docs/benchmarks.md.
bench *ARGS:
    cargo bench -p chaos-tests --bench peers -- {{ ARGS }}

# Installs what `bench` measures beside.
bench-peers:
    chaos-tests/bench-peers.sh
