# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: measures how the cost of a clone depends on threads, bytes and files. A run: series, x, wall, user and
# system seconds, peak KiB.

SETS=() DEFAULT_SETS=() POINTS=(threads sizes disk files) DEFAULT_POINTS=(threads sizes disk files)

check_scaling() {
    install_tools
    find_cloner
}

run_scaling() {
    local series copy=$work/copy
    for series in "${points[@]}"; do
        "series_$series"
    done
}

# measure SERIES X COMMAND...: measures one run of a command that creates $copy.
measure() {
    doing="$1, $2"
    timed copy "${@:3}" 2>"$work/copy.log"
    rm -rf "$copy"
    # shellcheck disable=SC2046  # four values
    record "$1" "$2" $(<"$work/copy.time")
}

# clone SERIES X SOURCE ARGUMENT...: measures one run of `cloner copy`.
clone() { measure "$1" "$2" "$CLONER" copy --quiet "${@:4}" "$3" "$copy"; }

series_threads() {
    local count round
    make_data prose "$work/prose" "$scale"
    for ((round = 1; round <= rounds; round++)); do
        for count in ${THREADS:-1 2 4}; do
            clone threads "$count" "$work/prose" --wire --compression always --compress-threads "$count"
        done
    done
    rm "$work/prose"
}

series_sizes() {
    local gib round
    for gib in ${SIZES:-1 2 4}; do
        make_data noise "$work/noise-$gib" "$gib"
    done
    for ((round = 1; round <= rounds; round++)); do
        for gib in ${SIZES:-1 2 4}; do
            clone sizes "$gib" "$work/noise-$gib"
        done
    done
    rm "$work"/noise-*
}

# In descending order: the source is truncated for each smaller size.
series_disk() {
    local gib round sizes copy disk
    read -ra sizes <<<"${DISK_SIZES:-16 4 1}"
    mapfile -t sizes < <(printf '%s\n' "${sizes[@]}" | sort --numeric-sort --reverse)
    disk=$(mktemp -d "${DISK_DIR:-/var/tmp}/decant-bench-XXXXXX")
    undo=(rm -rf "$disk")
    copy=$disk/copy
    make_data noise "$work/noise" "${sizes[0]}"
    for gib in "${sizes[@]}"; do
        truncate --size "${gib}G" "$work/noise"
        for ((round = 1; round <= rounds; round++)); do
            clone disk "$gib" "$work/noise"
        done
    done
    rm "$work/noise"
    rm -rf "$disk"
}

# One count at a time: there is no space for all of them at once.
series_files() {
    local count round
    for count in ${FILES:-10000 100000 1000000}; do
        make_data memory "$work/files" "$(awk "BEGIN { print $count / 200000 }")"
        for ((round = 1; round <= rounds; round++)); do
            clone files "$count" "$work/files"
            measure cp "$count" cp -a "$work/files" "$copy"
        done
        rm -rf "$work/files"
    done
}
