#!/usr/bin/env bash
# How a clone grows: with compressor threads, with the size of a volume, and with the number of files. `cloner copy`, in
# memory, medians of ROUNDS; threads and sizes by turns. Prints a table; --plot draws it.
#
#   scripts/bench_scaling.sh [--json FILE] [--plot FILE.svg] [SERIES...]
#
# Series: threads  1 GiB of text, always compressed, by 1, 2 and 4 threads that compress and as many that decompress
#         sizes    1, 2 and 4 GiB of noise
#         disk     1, 4 and 16 GiB of noise onto a disk: what has no room in memory twice
#         files    10,000, 100,000 and 1,000,000 files of 600 bytes, and by turns what `cp -a` takes for them
#
# Environment: ROUNDS (3), THREADS ("1 2 4"), SIZES ("1 2 4", in GiB), DISK_SIZES ("16 4 1"), FILES
# ("10000 100000 1000000"), BENCH_DIR (a tmpfs with room for 17 GiB, /dev/shm), COPY_DIR (a disk for the series disk,
# /var/tmp), CLONER (a binary, default: a release build).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/lib/bench.sh
. scripts/lib/bench.sh

rounds=${ROUNDS:-3} json='' plot='' series=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --json | --plot)
            [[ $# -gt 1 ]] || die "$1 needs a file"
            printf -v "${1#--}" %s "$2"
            shift
            ;;
        threads | sizes | disk | files) series+=("$1") ;;
        -h | --help)
            show_help
            exit
            ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift
done
[[ ${#series[@]} -gt 0 ]] || series=(threads sizes disk files)
bench_tools python3:python3
find_cloner

work=$(mktemp -d "${BENCH_DIR:-/dev/shm}/decant-scaling-XXXXXX")
copy=$work/copy disk=''
trap 'rm -rf "$work" ${disk:+"$disk"}' EXIT
trap 'exit 130' INT TERM

# timed SERIES X COMMAND...: a run that makes $copy, written down.
timed() {
    local name=$1 x=$2
    /usr/bin/time -q -f '%e %U %S %M' -o "$work/time" "${@:3}" 2>"$work/log" || {
        cat "$work/log" >&2
        exit 1
    }
    rm -rf "$copy"
    echo "$name $x $(<"$work/time")" | tee -a "$work/runs" | sed 's/^/  /' >&2
}

# one SERIES X SOURCE ARGUMENT...
one() { timed "$1" "$2" "$CLONER" copy --quiet "${@:4}" "$3" "$copy"; }

# make SET SCALE
make() { python3 scripts/bench/data.py "$1" "$work/$1-$2" "$2"; }

threads() {
    local count round
    make text 1
    for ((round = 1; round <= rounds; round++)); do
        for count in ${THREADS:-1 2 4}; do
            one threads "$count" "$work/text-1" --compression always --compress-threads "$count"
        done
    done
    rm "$work/text-1"
}

sizes() {
    local gib round
    for gib in ${SIZES:-1 2 4}; do
        make dense "$gib"
    done
    for ((round = 1; round <= rounds; round++)); do
        for gib in ${SIZES:-1 2 4}; do
            one sizes "$gib" "$work/dense-$gib"
        done
    done
    rm "$work"/dense-*
}

# Each size alone: the source of the largest is cut down for the others.
disk() {
    local gib round source sizes
    read -ra sizes <<<"${DISK_SIZES:-16 4 1}"
    mapfile -t sizes < <(printf '%s\n' "${sizes[@]}" | sort --numeric-sort --reverse)
    disk=$(mktemp -d "${COPY_DIR:-/var/tmp}/decant-scaling-XXXXXX")
    copy=$disk/copy
    make dense "${sizes[0]}"
    source=$work/dense-${sizes[0]}
    for gib in "${sizes[@]}"; do
        truncate --size "${gib}G" "$source"
        for ((round = 1; round <= rounds; round++)); do
            one disk "$gib" "$source"
        done
    done
    rm "$source"
    copy=$work/copy
}

# Each number alone: all of them at once would not fit.
files() {
    local count round scale
    for count in ${FILES:-10000 100000 1000000}; do
        scale=$(awk "BEGIN { print $count / 200000 }")
        make memory "$scale"
        for ((round = 1; round <= rounds; round++)); do
            one files "$count" "$work/memory-$scale"
            timed cp "$count" cp -a "$work/memory-$scale" "$copy"
        done
        rm -rf "$work/memory-$scale"
    done
}

for name in "${series[@]}"; do
    "$name"
done
echo "ROUNDS=$rounds, $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)"
python3 scripts/bench/scaling.py "$work/runs" "$json" "$plot"
