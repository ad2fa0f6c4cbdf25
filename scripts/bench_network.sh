#!/usr/bin/env bash
# Compares the ways to compress (`--compression auto`, `always`, `never`) on networks of several speeds: `cloner copy`
# in a network namespace of its own whose loopback is held to a rate. In memory, ways by turns, medians of ROUNDS. As root.
#
#   scripts/bench_network.sh [--json FILE] [RATE...]
#
# Rates: 100mbit, 1gbit, 10gbit, unlimited (all of them). Data: text (headers of C), binaries (programs) and noise; as
# much as takes some seconds, 1 GiB at most.
#
# Environment: ROUNDS (3), BENCH_DIR (a tmpfs with room for 2.5 GiB, /dev/shm), CLONER (a binary, default: a release
# build). Fails if `auto` takes over 5 % longer than the better of the other two, plus 50 ms for what is not the network.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/lib/bench.sh
. scripts/lib/bench.sh

rounds=${ROUNDS:-3} json='' rates=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --json)
            json=${2:?--json needs a file}
            shift
            ;;
        100mbit | 1gbit | 10gbit | unlimited) rates+=("$1") ;;
        -h | --help)
            show_help
            exit
            ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift
done
[[ $EUID -eq 0 ]] || die "network namespaces need root"
[[ ${#rates[@]} -gt 0 ]] || rates=(100mbit 1gbit 10gbit unlimited)
bench_tools python3:python3 ip:iproute2 tc:iproute2
find_cloner

work=$(mktemp -d "${BENCH_DIR:-/dev/shm}/decant-network-XXXXXX")
space=decant-bench-$$
trap 'ip netns del "$space" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# repeated MIB FILE...: the files one after the other, from the beginning again until it is enough.
repeated() {
    python3 - "$@" <<'PYTHON'
import sys
left = int(sys.argv[1]) << 20
while left:
    for name in sys.argv[2:]:
        with open(name, "rb") as file:
            data = file.read(left)
        sys.stdout.buffer.write(data)
        left -= len(data)
PYTHON
}

make_data() {
    local set=$1 mib=$2 names
    case $set in
        noise) head -c "${mib}M" /dev/urandom ;;
        text)
            mapfile -t names < <(find /usr/include /usr/lib/gcc -name '*.h' -type f | sort | head -n 4000)
            repeated "$mib" "${names[@]}"
            ;;
        binaries)
            mapfile -t names < <(find /usr/bin -type f -size +64k | sort | head -n 300)
            repeated "$mib" "${names[@]}"
            ;;
    esac
}

# hold RATE: a namespace whose loopback carries no more than that.
hold() {
    ip netns add "$space"
    ip -n "$space" link set lo up
    [[ $1 = unlimited ]] || tc -n "$space" qdisc add dev lo root tbf rate "$1" burst 1mb latency 100ms
}

declare -A mib=([100mbit]=192 [1gbit]=512 [10gbit]=1024 [unlimited]=1024)
for rate in "${rates[@]}"; do
    hold "$rate"
    for set in text binaries noise; do
        make_data "$set" "${mib[$rate]}" >"$work/source"
        for ((round = 1; round <= rounds; round++)); do
            for way in auto always never; do
                ip netns exec "$space" /usr/bin/time -q -f '%e %U %S' -o "$work/time" \
                    "$CLONER" copy --compression "$way" "$work/source" "$work/copy" >"$work/line" 2>"$work/log" || {
                    cat "$work/log" >&2
                    exit 1
                }
                cmp --quiet "$work/source" "$work/copy"
                rm "$work/copy"
                packed=$(sed -n 's/.* on the wire, \([0-9]*\) % compressed.*/\1/p' "$work/line")
                echo "$rate $set $way $(<"$work/time") $packed" | tee -a "$work/runs" | sed 's/^/  /' >&2
            done
        done
    done
    ip netns del "$space"
done
echo "ROUNDS=$rounds, $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)"
python3 scripts/bench/network_table.py "$work/runs" "$json"
