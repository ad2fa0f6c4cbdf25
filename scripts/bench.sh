#!/usr/bin/env bash
# Compares the cloner with what else could move the same bytes. One run, everything in memory, contestants by
# turns, so that a busy moment of the machine hits all of them; medians of ROUNDS.
#
#   scripts/bench.sh [--quick] [--json FILE] [SET...]
#
# Sets: dense   1 GiB of noise in one file
#       vmdisk  8 GiB with 1.1 GiB of data, like a virtual machine's disk
#       tree    69,000 files, 1 GB
#       memory  200,000 small files: does memory grow with their number?
#       cold    the tree on a disk whose content no cache knows, as volumes are when they are cloned; as root,
#               and only when it is asked for
# Contestants: `cloner copy`; `cloner source` and `cloner target`, two processes over TLS; cp; tar | tar;
# nbdcopy from nbdkit over TLS (files only); CDI's cloner and upload server over TLS, and each of them with ours.
#
# Environment: ROUNDS (3), SCALE (1, of the sizes; --quick means 0.1 and one round), BENCH_DIR (a tmpfs with
# room for three copies, /dev/shm), COLD_DIR (a disk, for the set cold: /var/tmp), PEER_BIN (a directory with CDI's cdi-cloner and cdi-uploadserver; without it
# CDI is left out), CLONER (a binary, default: a release build).
#
# A run counts only if its copy is equal. Wall time starts when the receiver is listening and ends when both
# ends are gone; CPU is user and system time of both; memory is the highest of all rounds.
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

rounds=${ROUNDS:-3} scale=${SCALE:-1} json='' sets=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --quick) rounds=1 scale=0.1 ;;
        --json)
            json=${2:?--json needs a file}
            shift
            ;;
        dense | vmdisk | tree | memory | cold) sets+=("$1") ;;
        -h | --help)
            show_help
            exit
            ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift
done
[[ ${#sets[@]} -gt 0 ]] || sets=(dense vmdisk tree memory)

bench_tools python3:python3 nbdkit:nbdkit nbdcopy:libnbd-bin openssl:openssl unshare:util-linux
find_cloner
if [[ ${PEER_BIN-} ]]; then
    PEER_BIN=$(readlink -e "$PEER_BIN")
    [[ $EUID -eq 0 ]] || die "CDI's pair needs root, for its fixed paths"
fi

if [[ " ${sets[*]} " = *" cold "* && $EUID -ne 0 ]]; then
    die "only root can empty the page cache for the set cold"
fi

work=$(mktemp -d "${BENCH_DIR:-/dev/shm}/decant-bench-XXXXXX") cold=''
running=()
doing=''
clean_up() {
    local status=$? pid
    if [[ $status -ne 0 && $doing ]]; then
        echo "bench.sh: failed at $doing" >&2
        tail -n 20 "$work"/*.log >&2 || true
    fi
    for pid in "${running[@]}"; do
        # GNU time leads a group that holds nothing but the program it measures.
        kill -- "-$pid" 2>/dev/null || true
    done
    rm -rf "$work" ${cold:+"$cold"}
}
trap clean_up EXIT
trap 'exit 130' INT TERM

certificates=$work/certificates
make_certificates "$certificates"
# The names that GnuTLS programs look for.
mkdir "$work/nbd-server" "$work/nbd-client" "$work/peer-root"
for end in server client; do
    other=$([[ $end = server ]] && echo client || echo server)
    cp "$certificates/$end.crt" "$work/nbd-$end/$end-cert.pem"
    cp "$certificates/$end.key" "$work/nbd-$end/$end-key.pem"
    cp "$certificates/$other-ca.crt" "$work/nbd-$end/ca-cert.pem"
done

# measured NAME COMMAND...: runs it under GNU time, in a group of its own; the figures land in NAME.time.
measured() {
    exec setsid /usr/bin/time -q -f '%U %S %M' -o "$work/$1.time" "${@:2}"
}

# In each contestant: `source` and `target` are files or directories, the target does not exist yet. It sets
# `began` when it starts the clock; what it calls source and target under `measured` is what is counted.
now() { date +%s%N; }

run_copy() {
    began=$(now)
    (measured source "$CLONER" copy --quiet "$source" "$target")
}

# The target of a pair writes into a directory, a disk under the name that CDI gives it.
pair_directory() {
    directory=$target
    [[ -d $source ]] || directory=$target.directory
    mkdir "$directory"
}

pair_end() {
    wait "$source_pid"
    wait "$target_pid"
    ended=$(now)
    [[ -d $source ]] || mv "$directory/disk.img" "$target"
}

content_of() { if [[ -d $source ]]; then echo filesystem-clone; else echo blockdevice-clone; fi; }

# Each end sets target_pid or source_pid; a target sets port, a source began.
our_target() {
    pair_directory
    : >"$work/target.log"
    (
        target_environment "$certificates"
        LISTEN_PORT=0 DESTINATION=$directory/disk.img \
            measured target "$CLONER" target --plain-health-port 0 --termination-log "$work/none"
    ) 2>"$work/target.log" &
    target_pid=$!
    running+=("$target_pid")
    port=$(port_in "$work/target.log" "waiting for a clone on" "$target_pid")
}

our_source() {
    began=$(now)
    (
        source_environment "$certificates" "$port"
        measured source "$CLONER" source --metrics-port 0 --termination-log "$work/none" \
            --content-type "$(content_of)" --mount "$source"
    ) 2>"$work/source.log" &
    source_pid=$!
    running+=("$source_pid")
}

peer_target() {
    port=$(free_port)
    pair_directory
    export PEER_ROOT=$work/peer-root
    (
        target_environment "$certificates"
        UPLOAD_IMAGE_SIZE=$(logical_bytes) FILESYSTEM_OVERHEAD=0 TLS_MIN_VERSION=VersionTLS12
        TLS_CIPHERS=ECDHE-RSA-AES128-GCM-SHA256,ECDHE-RSA-AES256-GCM-SHA384,TLS_AES_128_GCM_SHA256
        export UPLOAD_IMAGE_SIZE FILESYSTEM_OVERHEAD TLS_MIN_VERSION TLS_CIPHERS
        LISTEN_PORT=$port PREALLOCATION=false \
            measured target scripts/bench/peer.sh target "$directory" "$PEER_BIN/cdi-uploadserver"
    ) >"$work/target.log" 2>&1 &
    target_pid=$!
    running+=("$target_pid")
    wait_for_port "$port" "$target_pid"
}

peer_source() {
    local kind=block
    [[ -d $source ]] && kind=fs
    export PEER_ROOT=$work/peer-root
    (
        source_environment "$certificates" "$port"
        PREALLOCATION=false measured source scripts/bench/peer.sh source $kind "$source" "$(logical_bytes)" \
            "$PEER_BIN/cdi-cloner" "$work/began"
    ) >"$work/source.log" 2>&1 &
    source_pid=$!
    running+=("$source_pid")
}

logical_bytes() { du -sb --apparent-size "$source" | cut -f1; }

run_pair() {
    local port
    our_target
    our_source
    pair_end
}

run_peer() {
    local port
    peer_target
    peer_source
    pair_end
    began=$(<"$work/began")
}

run_to_peer() {
    local port
    peer_target
    our_source
    pair_end
}

run_from_peer() {
    local port
    our_target
    peer_source
    pair_end
    began=$(<"$work/began")
}

run_cp() {
    began=$(now)
    (measured source cp -a --sparse=auto "$source" "$target")
}

run_tar() {
    local from=$source name=. into=$target
    if [[ -d $source ]]; then mkdir "$into"; else from=$work name=${source##*/} into=$target.directory && mkdir "$into"; fi
    began=$(now)
    (measured source tar -C "$from" --sparse -cf - "$name") | (measured target tar -C "$into" -xpf -)
    ended=$(now)
    [[ -d $source ]] || mv "$into/$name" "$target"
}

run_nbdcopy() {
    local port
    port=$(free_port)
    (measured source nbdkit --foreground --ipaddr 127.0.0.1 --port "$port" --pidfile "$work/nbdkit.pid" --readonly \
        --tls require --tls-certificates "$work/nbd-server" --tls-verify-peer file "$source") 2>"$work/source.log" &
    source_pid=$!
    running+=("$source_pid")
    wait_for_port "$port" "$source_pid"
    began=$(now)
    (measured target nbdcopy --flush "nbds://localhost:$port?tls-certificates=$work/nbd-client" "$target")
    ended=$(now)
    # nbdkit serves until it is told to end; then GNU time writes what it took.
    kill "$(<"$work/nbdkit.pid")"
    wait "$source_pid" || true
}

check() {
    if [[ -d $source ]]; then
        diff -r --no-dereference "$source" "$target"
    else
        python3 scripts/bench/same.py "$source" "$target"
    fi
}

# one SET CONTESTANT NAME: a run, checked and written down.
one() {
    local began='' ended='' cpu rss_source rss_target=0 source_pid='' target_pid='' directory=''
    rm -f "$work"/*.time
    doing="$3 on $1"
    if [[ $1 = cold ]]; then
        sync
        echo 3 >/proc/sys/vm/drop_caches
    fi
    "run_$2"
    ended=${ended:-$(now)}
    doing="comparing the copy of $1 by $3"
    check
    rss_source=$(cut -d ' ' -f 3 "$work/source.time")
    [[ ! -f $work/target.time ]] || rss_target=$(cut -d ' ' -f 3 "$work/target.time")
    cpu=$(cat "$work"/*.time | awk '{ sum += $1 + $2 } END { print sum }')
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$3" "$(awk "BEGIN { print ($ended - $began) / 1e9 }")" \
        "$cpu" "$rss_source" "$rss_target" | tee -a "$work/runs" | sed 's/^/  /' >&2
    rm -rf "$target" "$target.directory"
    doing='' running=()
}

for set in "${sets[@]}"; do
    source=$work/$set target=$work/copy
    echo "making $set" >&2
    if [[ $set = cold ]]; then
        cold=$(mktemp -d "${COLD_DIR:-/var/tmp}/decant-bench-XXXXXX")
        source=$cold/tree
    fi
    python3 scripts/bench/data.py "${set/cold/tree}" "$source" "$scale"
    for ((round = 1; round <= rounds; round++)); do
        one "$set" copy 'decant copy'
        one "$set" pair 'decant pair'
        one "$set" cp cp
        one "$set" tar 'tar | tar'
        [[ -d $source ]] || one "$set" nbdcopy nbdcopy
        if [[ ${PEER_BIN-} ]]; then
            one "$set" peer CDI
            one "$set" to_peer 'decant to CDI'
            one "$set" from_peer 'CDI to decant'
        fi
    done
    rm -rf "$source"
done
echo "ROUNDS=$rounds SCALE=$scale, $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)"
python3 scripts/bench/table.py "$work/runs" "$json" "$rounds" "$scale"
