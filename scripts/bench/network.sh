# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: compares compression modes on networks of several speeds. A run: rate, set, mode, wall, user and
# system seconds, peak KiB, percent of the bytes that were sent compressed.

SETS=(text binaries noise) DEFAULT_SETS=(text binaries noise)
POINTS=(100mbit 1gbit 10gbit unlimited) DEFAULT_POINTS=(100mbit 1gbit 10gbit unlimited)

check_network() {
    [[ $EUID -eq 0 ]] || die "a network namespace needs root"
    install_tools ip:iproute2 tc:iproute2
    find_cloner
}

# limit NAMESPACE RATE: creates a network namespace whose loopback interface is limited to RATE.
limit() {
    ip netns add "$1"
    ip -n "$1" link set lo up
    [[ $2 = unlimited ]] || tc -n "$1" qdisc add dev lo root tbf rate "$2" burst 1mb latency 100ms
}

run_network() {
    local rate set round mode namespace=decant-bench-$$
    # Sizes in GiB that take some seconds each.
    local -A gib=([100mbit]=0.1875 [1gbit]=0.5 [10gbit]=1 [unlimited]=1)
    undo=(ip netns del "$namespace")
    for rate in "${points[@]}"; do
        limit "$namespace" "$rate"
        for set in "${data[@]}"; do
            make_data "$set" "$work/source" "$(awk "BEGIN { print ${gib[$rate]} * $scale }")"
            for ((round = 1; round <= rounds; round++)); do
                for mode in auto always never; do
                    measure_network "$rate" "$set" "$mode"
                done
            done
        done
        ip netns del "$namespace"
    done
    undo=(true)
}

measure_network() {
    local percent
    doing="$2 at $1, --compression $3"
    timed copy ip netns exec "$namespace" \
        "$CLONER" copy --wire --compression "$3" "$work/source" "$work/copy" >"$work/line" 2>"$work/copy.log"
    cmp --quiet "$work/source" "$work/copy"
    rm "$work/copy"
    percent=$(sed -n 's/.* on the wire, \([0-9]*\) % compressed.*/\1/p' "$work/line")
    # shellcheck disable=SC2046  # four values
    record "$1" "$2" "$3" $(<"$work/copy.time") "$percent"
}
