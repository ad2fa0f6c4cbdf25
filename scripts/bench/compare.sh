# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: compares the cloner with other programs that can copy the same bytes. A run: set, contestant, wall
# seconds, CPU seconds of both ends, peak KiB of the source and of the target (0 if both are one process).

SETS=(dense vmdisk tree memory cold-dense cold-vmdisk cold-tree cold-memory text binaries noise prose) DEFAULT_SETS=(dense vmdisk tree memory)
POINTS=(copy wire pair cp tar nbdcopy peer to_peer from_peer) DEFAULT_POINTS=("${POINTS[@]}")

# Their names in the table.
declare -A CONTESTANTS=(
    [copy]='decant direct' [wire]='decant wire' [pair]='decant pair' [cp]=cp [tar]='tar | tar' [nbdcopy]=nbdcopy
    [peer]=CDI [to_peer]='decant to CDI' [from_peer]='CDI to decant'
)

check_compare() {
    install_tools nbdkit:nbdkit nbdcopy:libnbd-bin openssl:openssl unshare:util-linux
    find_cloner
    if [[ ${PEER_BIN-} ]]; then
        PEER_BIN=$(readlink -e "$PEER_BIN")
        [[ $EUID -eq 0 ]] || die "CDI's pair needs root, for its fixed paths"
    fi
    if [[ " ${data[*]}" = *" cold-"* && $EUID -ne 0 ]]; then
        die "only root can empty the page cache for the sets cold-*"
    fi
}

run_compare() {
    local set round point source target=$work/copy
    certificates=$work/certificates
    make_certificates "$certificates"
    make_nbd_certificates
    mkdir "$work/peer-root"
    time_ends
    for set in "${data[@]}"; do
        source=$work/$set
        undo=(true)
        if [[ $set = cold-* ]]; then
            source=$(mktemp -d "${DISK_DIR:-/var/tmp}/decant-bench-XXXXXX")/${set#cold-}
            undo=(rm -rf "${source%/*}")
        fi
        make_data "${set#cold-}" "$source" "$scale"
        for ((round = 1; round <= rounds; round++)); do
            for point in "${points[@]}"; do
                case $point in
                    nbdcopy) [[ ! -d $source ]] || continue ;;
                    peer | to_peer | from_peer) [[ ${PEER_BIN-} ]] || continue ;;
                esac
                measure_contestant "$point" "${CONTESTANTS[$point]}"
            done
        done
        rm -rf "$source"
        "${undo[@]}"
    done
}

# Copies the certificates to the file names that programs with GnuTLS expect.
make_nbd_certificates() {
    local end other
    for end in server client; do
        other=$([[ $end = server ]] && echo client || echo server)
        mkdir "$work/nbd-$end"
        cp "$certificates/$end.crt" "$work/nbd-$end/$end-cert.pem"
        cp "$certificates/$end.key" "$work/nbd-$end/$end-key.pem"
        cp "$certificates/$other-ca.crt" "$work/nbd-$end/ca-cert.pem"
    done
}

# measure_contestant CONTESTANT NAME: measures, checks and records one run.
measure_contestant() {
    local start='' end='' cpu source_kib target_kib=0 source_pid='' target_pid='' directory='' pid port
    rm -f "$work"/*.time
    doing="$2 on $set"
    if [[ $set = cold-* ]]; then
        sync
        echo 3 >/proc/sys/vm/drop_caches
    fi
    "contestant_$1"
    end=${end:-$(now)}
    doing="the comparison of the copy of $set by $2"
    same_content
    source_kib=$(cut -d ' ' -f 4 "$work/source.time")
    [[ ! -f $work/target.time ]] || target_kib=$(cut -d ' ' -f 4 "$work/target.time")
    cpu=$(cat "$work"/*.time | awk '{ sum += $2 + $3 } END { print sum }')
    record "$set" "$2" "$(awk "BEGIN { print ($end - $start) / 1e9 }")" "$cpu" "$source_kib" "$target_kib"
    rm -rf "$target" "$target.directory"
    running=()
}

same_content() {
    if [[ -d $source ]]; then
        diff -r --no-dereference "$source" "$target"
    else
        python3 scripts/bench/same.py "$source" "$target"
    fi
}

# A contestant copies `source`, a file or a directory, to `target`, which does not exist. It sets `start` when the clock
# starts, and `end` unless that is when it returns. What runs under source_wrapper and target_wrapper is measured.

contestant_copy() {
    start=$(now)
    "${source_wrapper[@]}" "$CLONER" copy --quiet "$source" "$target"
}

contestant_wire() {
    start=$(now)
    "${source_wrapper[@]}" "$CLONER" copy --wire --quiet "$source" "$target"
}

contestant_cp() {
    start=$(now)
    "${source_wrapper[@]}" cp -a --sparse=auto "$source" "$target"
}

contestant_tar() {
    local from=$source name=. into=$target
    if [[ ! -d $source ]]; then
        from=$work name=${source##*/} into=$target.directory
    fi
    mkdir "$into"
    start=$(now)
    "${source_wrapper[@]}" tar -C "$from" --sparse -cf - "$name" | "${target_wrapper[@]}" tar -C "$into" -xpf -
    end=$(now)
    [[ -d $source ]] || mv "$into/$name" "$target"
}

contestant_nbdcopy() {
    port=$(free_port)
    "${source_wrapper[@]}" nbdkit --foreground --ipaddr 127.0.0.1 --port "$port" --pidfile "$work/nbdkit.pid" --readonly \
        --tls require --tls-certificates "$work/nbd-server" --tls-verify-peer file "$source" 2>"$work/source.log" &
    source_pid=$!
    running+=("$source_pid")
    wait_for_port "$port" "$source_pid"
    start=$(now)
    "${target_wrapper[@]}" nbdcopy --flush "nbds://localhost:$port?tls-certificates=$work/nbd-client" "$target"
    end=$(now)
    # nbdkit serves until it is stopped. Then GNU time writes its figures.
    kill "$(<"$work/nbdkit.pid")"
    wait "$source_pid" || true
}

contestant_pair() {
    decant_target
    decant_source
    wait_for_pair
}

contestant_peer() {
    peer_target
    peer_source
    wait_for_pair
    start=$(<"$work/start")
}

contestant_to_peer() {
    peer_target
    decant_source
    wait_for_pair
}

contestant_from_peer() {
    decant_target
    peer_source
    wait_for_pair
    start=$(<"$work/start")
}

# The target of a pair writes to a directory. In it a disk has the name that CDI chose, disk.img.
pair_directory() {
    directory=$target
    [[ -d $source ]] || directory=$target.directory
    mkdir "$directory"
}

wait_for_pair() {
    wait "$source_pid"
    wait "$target_pid"
    end=$(now)
    [[ -d $source ]] || mv "$directory/disk.img" "$target"
}

decant_target() {
    pair_directory
    start_target "$directory"
    target_pid=$pid
}

decant_source() {
    local type=blockdevice-clone
    [[ ! -d $source ]] || type=filesystem-clone
    start=$(now)
    start_source "$port" --content-type "$type" --mount "$source"
    source_pid=$pid
}

logical_bytes() { du -sb --apparent-size "$source" | cut -f1; }

peer_target() {
    port=$(free_port)
    pair_directory
    (
        target_environment "$certificates"
        UPLOAD_IMAGE_SIZE=$(logical_bytes) FILESYSTEM_OVERHEAD=0 TLS_MIN_VERSION=VersionTLS12
        TLS_CIPHERS=ECDHE-RSA-AES128-GCM-SHA256,ECDHE-RSA-AES256-GCM-SHA384,TLS_AES_128_GCM_SHA256
        export UPLOAD_IMAGE_SIZE FILESYSTEM_OVERHEAD TLS_MIN_VERSION TLS_CIPHERS
        LISTEN_PORT=$port PREALLOCATION=false PEER_ROOT=$work/peer-root \
            exec "${target_wrapper[@]}" scripts/bench/peer.sh target "$directory" "$PEER_BIN/cdi-uploadserver"
    ) >"$work/target.log" 2>&1 &
    target_pid=$!
    running+=("$target_pid")
    wait_for_port "$port" "$target_pid"
}

peer_source() {
    local kind=block
    [[ ! -d $source ]] || kind=fs
    (
        source_environment "$certificates" "$port"
        PREALLOCATION=false PEER_ROOT=$work/peer-root \
            exec "${source_wrapper[@]}" scripts/bench/peer.sh source $kind "$source" "$(logical_bytes)" \
            "$PEER_BIN/cdi-cloner" "$work/start"
    ) >"$work/source.log" 2>&1 &
    source_pid=$!
    running+=("$source_pid")
}
