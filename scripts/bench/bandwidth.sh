# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: clones that share a budget for bandwidth. The example prints the tables.

SETS=() DEFAULT_SETS=() POINTS=() DEFAULT_POINTS=()

check_bandwidth() {
    find_cloner
    cargo build --locked --quiet -p decant-controller --example bandwidth
}

run_bandwidth() {
    mkdir "$work/source"
    head -c 600M /dev/urandom >"$work/source/disk.img"
    "${CARGO_TARGET_DIR:-$PWD/target}/debug/examples/bandwidth" "$CLONER" "$work" "${CLONES:-20}" "${BUDGET:-40MiB/s}"
}
