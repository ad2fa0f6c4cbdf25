#!/usr/bin/env bash
# How much several connections bring (`cloner source --streams N`) on a network that holds each of them to a rate: source and
# target as two processes, a relay between them. In memory, numbers by turns, medians of ROUNDS.
#
#   scripts/bench_streams.sh [--json FILE] [N...]
#
# N: numbers of connections (1 2 4 8). The source is 1 GiB of noise in one file.
#
# Environment: ROUNDS (3), MBIT (1000) that a connection carries, ROUND_TRIP_MS (10) that the network adds, MIB (1024) of
# noise, BENCH_DIR (a tmpfs with room for two copies, /dev/shm), CLONER (a binary, default: a release build). Fails if a copy
# is not equal, or more connections are slower than one.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/lib/bench.sh
. scripts/lib/bench.sh

rounds=${ROUNDS:-3} mbit=${MBIT:-1000} round_trip_ms=${ROUND_TRIP_MS:-10} mib=${MIB:-1024} json='' numbers=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --json)
            json=${2:?--json needs a file}
            shift
            ;;
        [1-8]) numbers+=("$1") ;;
        -h | --help)
            show_help
            exit
            ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift
done
[[ ${#numbers[@]} -gt 0 ]] || numbers=(1 2 4 8)
bench_tools python3:python3 openssl:openssl
find_cloner
cargo build --quiet --locked --release -p decant-cloner --example relay
relay=$(readlink -e "${CARGO_TARGET_DIR:-target}/release/examples/relay")

work=$(mktemp -d "${BENCH_DIR:-/dev/shm}/decant-streams-XXXXXX")
running=()
clean_up() {
    local status=$? pid
    [[ $status -eq 0 ]] || tail -n 20 "$work"/*.log >&2 || true
    for pid in "${running[@]}"; do
        # Each leads a group that holds nothing but what it runs.
        kill -- "-$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

make_certificates "$work/certificates"
head -c "${mib}M" /dev/urandom >"$work/source"

# clone N: over N connections; its wall, CPU and memory to standard output.
clone() {
    local target relay_pid port
    : >"$work/target.log"
    (
        target_environment "$work/certificates"
        LISTEN_PORT=0 DESTINATION=$work/disk.img exec setsid /usr/bin/time -q -f '%U %S %M' -o "$work/target.time" \
            "$CLONER" target --plain-health-port 0 --termination-log "$work/none"
    ) 2>"$work/target.log" &
    target=$!
    running+=("$target")
    port=$(port_in "$work/target.log" "waiting for a clone on" "$target")
    : >"$work/relay.port"
    setsid "$relay" "$port" "$mbit" "$round_trip_ms" >"$work/relay.port" &
    relay_pid=$!
    running+=("$relay_pid")
    until [[ -s $work/relay.port ]]; do sleep 0.02; done
    (
        source_environment "$work/certificates" "$(<"$work/relay.port")"
        exec /usr/bin/time -q -f '%e %U %S %M' -o "$work/source.time" "$CLONER" source --streams "$1" --metrics-port 0 \
            --termination-log "$work/none" --content-type blockdevice-clone --mount "$work/source"
    ) 2>"$work/source.log"
    wait "$target"
    kill "$relay_pid"
    running=()
    cmp --quiet "$work/source" "$work/disk.img"
    rm "$work/disk.img"
    echo "$(<"$work/source.time") $(<"$work/target.time")"
}

for ((round = 1; round <= rounds; round++)); do
    for number in "${numbers[@]}"; do
        echo "$number $(clone "$number")" | tee -a "$work/runs" | sed 's/^/  /' >&2
    done
done
echo "ROUNDS=$rounds, $mib MiB of noise, $mbit Mbit/s for each connection, $round_trip_ms ms there and back, $(nproc) CPUs"
python3 scripts/bench/streams_table.py "$work/runs" "$mib" "$json"
