#!/usr/bin/env bash
# Runs the long form of the fault matrix (docs/specification.md): every fault at 10, 50, 90 and 99 % and at random points, in every
# mode, on larger volumes; and clones whose ends are killed in turn until the clone is complete. As root, on Linux with loop
# devices. Prints a table and fails if a cell is wrong.
#
#   scripts/faults.sh [--rounds N] [--seed N] [--scale N] [--streams N] [FILTER...]
#
#   --rounds N   random points of each cell in addition to the fixed ones (4)
#   --seed N     seed of the random points (the time); printed, so that a run can be repeated
#   --scale N    volumes are this many times as large as in CI, which is about 266 MiB each (4)
#   --streams N  connections of each clone (1)
#   FILTER       only tests with this in their names, such as kills:: or a_tree
#
# Environment: TMPDIR needs room for eight volumes; JOBS (2) tests at once.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh

help_if_asked "$@"
rounds=4 seed=$(date +%s) scale=4 streams=1 filters=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --rounds | --seed | --scale | --streams)
            [[ ${2-} =~ ^[0-9]+$ ]] || die "$1 needs a number"
            declare "${1#--}=$2"
            shift
            ;;
        -*) die "unknown argument $1; see --help" ;;
        *) filters+=("$1") ;;
    esac
    shift
done
[[ $EUID -eq 0 ]] || die "loop devices and mounts need root"
[[ $scale -gt 0 ]] || die "--scale must be at least 1"
all=no
[[ ${#filters[@]} -gt 0 ]] || all=yes filters=(kills:: cuts:: power:: failing::)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DECANT_FAULTS_ROUNDS=$rounds DECANT_FAULTS_SEED=$seed DECANT_FAULTS_SCALE=$scale
export DECANT_FAULTS_STREAMS=$streams DECANT_FAULTS_TABLE=$work/table CI=true
: >"$DECANT_FAULTS_TABLE"
echo "--rounds $rounds --seed $seed --scale $scale --streams $streams" >&2
status=0
cargo test --locked -p decant-cloner --test resume -- --test-threads "${JOBS:-2}" "${filters[@]}" || status=$?
# Failing system calls, two writers, filesystems that ignore case: these tests have no points and no cells.
if [[ $all = yes ]]; then
    cargo test --locked -p decant-cloner --test copy --test copy_wire -- --test-threads "${JOBS:-2}" \
        optional:: writers:: spelling:: || status=$?
    cargo test --locked -p decant-cloner --test receive -- --test-threads "${JOBS:-2}" writers:: || status=$?
fi

echo
{
    printf 'fault\tmode\tpoint\tMiB resent\toutcome\n'
    sort -t $'\t' -k 1,2 -k 3,3n "$DECANT_FAULTS_TABLE"
} | column -t -s $'\t'
wrong=$(grep -c 'WRONG$' "$DECANT_FAULTS_TABLE") || true
cells=$(wc -l <"$DECANT_FAULTS_TABLE")
echo
echo "$cells cells, $wrong wrong, --seed $seed, in $SECONDS s"
[[ $status -eq 0 && $wrong -eq 0 && $cells -gt 0 ]]
