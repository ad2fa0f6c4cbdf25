# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: measures several connections through a relay that limits each of them. A run: connections, MiB, then
# wall, user and system seconds and peak KiB of the source, and the same of the target.

SETS=(noise) DEFAULT_SETS=(noise) POINTS=(1 2 3 4 5 6 7 8) DEFAULT_POINTS=(1 2 4 8)

check_streams() {
    install_tools openssl:openssl
    find_cloner
    cargo build --quiet --locked --release -p decant-cloner --example relay
    relay=$(readlink -e "${CARGO_TARGET_DIR:-target}/release/examples/relay")
}

run_streams() {
    local round number mbit=${MBIT:-1000} round_trip_ms=${ROUND_TRIP_MS:-10}
    NOTE="$mbit Mbit/s for each connection, $round_trip_ms ms round trip"
    certificates=$work/certificates
    make_certificates "$certificates"
    make_data "${data[0]}" "$work/source" "$scale"
    time_ends
    for ((round = 1; round <= rounds; round++)); do
        for number in "${points[@]}"; do
            measure_streams "$number"
        done
    done
}

measure_streams() {
    local target relay_pid pid port
    doing="$1 connections"
    start_target "$work/volume"
    target=$pid
    : >"$work/relay.port"
    setsid "$relay" "$port" "$mbit" "$round_trip_ms" >"$work/relay.port" &
    relay_pid=$!
    running+=("$relay_pid")
    until [[ -s $work/relay.port ]]; do sleep 0.02; done
    start_source "$(<"$work/relay.port")" --streams "$1" --content-type blockdevice-clone --mount "$work/source"
    wait "$pid"
    wait "$target"
    kill "$relay_pid"
    running=()
    cmp --quiet "$work/source" "$work/volume/disk.img"
    rm -r "$work/volume"
    # shellcheck disable=SC2046  # four values each
    record "$1" "$(($(stat -c %s "$work/source") >> 20))" $(<"$work/source.time") $(<"$work/target.time")
}
