#!/usr/bin/env bash
# Checks whether the data path has become more expensive. Counts the instructions of fixed workloads (cloner/benches/instructions.rs)
# under callgrind and compares them with scripts/guard/baseline.tsv. Instruction counts do not depend on how busy the
# machine is.
#
#   scripts/guard.sh           fails if a workload takes 3 % more instructions than in the baseline
#   scripts/guard.sh --renew   writes a new baseline; the commit message says why it changed
#
# The counts depend on the compiler and on the kind of processor, which the baseline names. With another compiler or
# processor the script compares nothing and exits with 75.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/build.sh
. scripts/lib/build.sh
help_if_asked "$@"

TOLERANCE_PERCENT=3
CANNOT_RUN=75
baseline=scripts/guard/baseline.tsv

renew=''
case ${1-} in
    '') ;;
    --renew) renew=yes ;;
    *) die "unknown argument $1; see --help" ;;
esac
command -v valgrind >/dev/null || {
    echo "valgrind is missing; scripts/test.sh setup installs it"
    exit "$CANNOT_RUN"
}

# What the counts depend on besides the code: the compiler, and the features of valgrind's processor. That processor has
# AVX2 if the real one has it, and nothing newer.
machine="$(rustc --version), $(uname -m)"
for feature in sse4_2 avx2; do
    ! grep -qsw "$feature" /proc/cpuinfo || machine+=" $feature"
done

known=$(sed -n 's/^# machine: //p' "$baseline" 2>/dev/null || true)
if [[ -z $renew && $known != "$machine" ]]; then
    echo "the baseline was made with: $known"
    echo "this machine has:           $machine"
    echo "nothing was compared; scripts/guard.sh --renew on this machine writes a new baseline"
    exit "$CANNOT_RUN"
fi

# The profile of the tests optimizes the data path fully, and its artifacts are already built.
build_debug
program=$debug/examples/instructions

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Copies are made by loops, not by one long instruction, so that a needless copy is counted in full.
export GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000:glibc.cpu.x86_rep_stosb_threshold=100000000

# count CASE: prints its instructions. Only what the function `measured` of the example calls is counted.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect='*instructions*measured*' \
        "$program" "$1" >"$work/$1.log" 2>&1 || {
        cat "$work/$1.log" >&2
        die "$1 failed"
    }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/$1.log"
}

"$program" >"$work/cases"
# Two at a time do not change the counts.
while read -r name; do
    while [[ $(jobs -rp | wc -l) -ge 2 ]]; do wait -n; done
    count "$name" >"$work/$name.count" &
done <"$work/cases"
wait

failed=0
{
    echo "# Instructions of each workload in cloner/benches/instructions.rs; scripts/guard.sh --renew writes this file."
    echo "# machine: $machine"
} >"$work/new.tsv"
while read -r name; do
    found=$(cat "$work/$name.count")
    [[ $found && $found -gt 1000 ]] || die "no instructions were counted for $name"
    printf '%s\t%s\n' "$name" "$found" >>"$work/new.tsv"
    [[ -z $renew ]] || continue
    wanted=$(awk -v name="$name" '$1 == name { print $2 }' "$baseline")
    [[ $wanted ]] || {
        echo "$name is not in the baseline"
        failed=1
        continue
    }
    percent=$(awk -v found="$found" -v wanted="$wanted" 'BEGIN { printf "%+.2f", (found / wanted - 1) * 100 }')
    verdict=ok
    if [[ $((found * 100)) -gt $((wanted * (100 + TOLERANCE_PERCENT))) ]]; then
        verdict="more than the baseline allows" failed=1
    elif [[ $((found * 100)) -lt $((wanted * (100 - TOLERANCE_PERCENT))) ]]; then
        verdict="an improvement; --renew updates the baseline"
    fi
    printf '%-20s %12d instructions, %s %%, %s\n' "$name" "$found" "$percent" "$verdict"
done <"$work/cases"
if [[ $renew ]]; then
    cp "$work/new.tsv" "$baseline"
    cat "$baseline"
fi
exit "$failed"
