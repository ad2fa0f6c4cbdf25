#!/usr/bin/env bash
# Measures Decant and the programs that it is compared with. The contestants of a measurement take turns, so that a busy moment of
# the machine affects all of them. The result is a table with the medians of all rounds. A wrong copy ends the measurement.
#
#   scripts/bench.sh [COMMAND] [--data SET]... [--rounds N] [--scale X] [--quick] [--json FILE] [--plot FILE.svg] [POINT...]
#
# Commands, and what POINT selects in each:
#   compare     (default) `cloner copy`, which clones directly; the same with --wire; `cloner source` with `cloner target`,
#               two processes over TLS; cp; tar | tar;
#               nbdcopy from nbdkit over TLS (files only); CDI's cloner and upload server, and each of them with Decant's
#               other end. Sets: dense, vmdisk, tree, memory; cold-*, as root, only if they are named. Wall time starts when
#               the receiver listens and ends when both ends have exited; CPU is user and system time of both; memory is
#               the highest of all rounds. POINT: contestants (copy wire pair cp tar nbdcopy peer to_peer from_peer)
#   network     `cloner copy --wire` with --compression auto, always and never over a loopback interface that is limited to a
#               rate. As root. Sets: text, binaries, noise. POINT: 100mbit, 1gbit, 10gbit, unlimited. Fails if auto takes
#               over 5 % longer than the better of the other two, plus 50 ms for what is not the network
#   streams     `cloner source --streams N` with `cloner target`, through a relay that limits every connection. Set: noise.
#               POINT: the numbers of connections (1 2 4 8). Fails if more connections are slower than one
#   scaling     `cloner copy` for a growing number of threads (with --wire), bytes or files. POINT: a series.
#                 threads  1 GiB of prose, always compressed, by 1, 2 and 4 threads that compress and as many that decompress
#                 sizes    1, 2 and 4 GiB of noise
#                 disk     1, 4 and 16 GiB of noise to a disk: too large for two copies in memory
#                 files    10,000, 100,000 and 1,000,000 files of 600 bytes, alternating with `cp -a` of the same files
#   bandwidth   20 clones that the controller's pollers keep within a budget of 40 MiB/s (CLONES, BUDGET), in ten-second windows: the
#               sum, and how long a change takes. Fails if the sum differs by over 5 %, or a change takes over 5 s. Two minutes
#   controller  CPU time and requests of the controller for 100 and 1,000 running clones, and for 100 among 10,000
#               DataVolumes. As root; about ten minutes
#
# Sets of --data, with their sizes at --scale 1:
#   dense, noise   1 GiB of noise in one file         vmdisk   8 GiB with 1.1 GiB of data, like the disk of a VM
#   text           1 GiB of C headers                 tree     69,000 files, 1 GB
#   binaries       1 GiB of programs                  memory   200,000 small files: does memory grow with their number?
#   prose          1 GiB of few words                 cold-*   dense, vmdisk, tree or memory on a disk and not in the page cache
#
# --rounds defaults to 3. --quick means --rounds 1 --scale 0.1. --plot draws the result of `scaling`.
#
# Environment: CLONER (a binary; default: a release build), BENCH_DIR (/dev/shm; a tmpfs with room for three copies, or for
# 17 GiB: scaling), DISK_DIR (/var/tmp; for the sets cold-* and the series disk).
# compare: PEER_BIN, a directory with CDI's cdi-cloner and cdi-uploadserver; without it CDI is left out.
# streams: MBIT (1000) per connection, ROUND_TRIP_MS (10).
# scaling: THREADS ("1 2 4"), SIZES ("1 2 4", in GiB), DISK_SIZES ("16 4 1"), FILES ("10000 100000 1000000").
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/bench/measure.sh
. scripts/bench/measure.sh
help_if_asked "$@"

command=compare
case ${1-} in
    compare | network | streams | scaling | bandwidth | controller)
        command=$1
        shift
        ;;
esac
# shellcheck source=/dev/null
. "scripts/bench/$command.sh"

rounds=${ROUNDS:-3} scale=${SCALE:-1} json='' plot='' data=() points=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --quick) rounds=1 scale=0.1 ;;
        --data | --rounds | --scale | --json | --plot)
            [[ $# -gt 1 ]] || die "$1 needs a value"
            if [[ $1 = --data ]]; then data+=("$2"); else printf -v "${1#--}" %s "$2"; fi
            shift
            ;;
        -*) die "unknown argument $1; see --help" ;;
        *) points+=("$1") ;;
    esac
    shift
done
# SETS and POINTS are those that the command supports, DEFAULT_SETS and DEFAULT_POINTS those that it uses if none is named.
[[ ${#data[@]} -gt 0 ]] || data=("${DEFAULT_SETS[@]}")
[[ ${#points[@]} -gt 0 ]] || points=("${DEFAULT_POINTS[@]}")
for name in "${data[@]}"; do
    [[ " ${SETS[*]} " = *" $name "* ]] || die "$command has no set $name; see --help"
done
for name in "${points[@]}"; do
    # shellcheck disable=SC2153  # not a misspelling of `points`
    [[ " ${POINTS[*]} " = *" $name "* ]] || die "$command has no point $name; see --help"
done
[[ ! $plot || $command = scaling ]] || die "--plot works only with the command scaling"

export PYTHONDONTWRITEBYTECODE=1
"check_$command"
TMPDIR=${BENCH_DIR:-/dev/shm} make_work_directory
trap 'end_bench $?' EXIT
: >"$work/runs"
"run_$command"
doing=''
[[ -s $work/runs ]] || exit 0
echo "rounds $rounds, scale $scale${NOTE:+, $NOTE}, $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)"
python3 scripts/bench/table.py "$command" "$work/runs" --rounds "$rounds" --scale "$scale" --json "$json" --plot "$plot"
