#!/usr/bin/env bash
# All tests five times on the machine as it is, and five times beside a load on every core. Every failure is told by its test's
# name, and ends it with 1. TIMES says how often instead, LIMIT how long one time may take.
set -uo pipefail
cd "$(dirname "$0")/.."
times=${TIMES:-5} limit=${LIMIT:-60m}
logs=$(mktemp -d) loads=()

unload() {
    ((${#loads[@]})) && kill "${loads[@]}" 2>/dev/null
    loads=()
}
trap unload EXIT

cargo test --workspace --locked --no-run --quiet || exit 1
for beside in nothing load; do
    for ((n = 1; n <= times; n++)); do
        if [[ $beside == load ]]; then
            for ((core = 0; core < $(nproc); core++)); do
                (while :; do :; done) &
                loads+=($!)
            done
        fi
        began=$SECONDS log=$logs/$beside.$n
        timeout "$limit" cargo test --workspace --locked --no-fail-fast >"$log" 2>&1
        status=$?
        unload
        mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
        printf 'beside %s, %d of %d: %d failed, %d s\n' "$beside" "$n" "$times" "${#failed[@]}" $((SECONDS - began))
        ((${#failed[@]})) && printf '    %s\n' "${failed[@]}"
        ((status == 124)) && echo "    not over within $limit"
        # Where a program ended and no test says why, its log does.
        ((status != 0)) && echo "    $log" && bad=1
    done
done
((${bad:-0})) && exit 1
rm -r "$logs"
