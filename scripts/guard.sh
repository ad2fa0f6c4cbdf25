#!/usr/bin/env bash
# Has the data path become dearer? Counts the instructions of fixed pieces of work (cloner/benches/instructions.rs)
# under callgrind and compares them with scripts/guard/baseline.tsv. No clock is involved, so a busy machine
# does not matter.
#
#   scripts/guard.sh           fails when a piece of work takes 3 % more instructions than in the baseline
#   scripts/guard.sh --renew   writes a new baseline; say in the commit why it is another one
#
# The counts belong to a compiler and a kind of processor, which the baseline names. With others the script
# compares nothing and exits with 75.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh

TOLERANCE_PERCENT=3
CANNOT=75
baseline=scripts/guard/baseline.tsv

renew=''
case ${1-} in
    '') ;;
    --renew) renew=yes ;;
    -h | --help)
        show_help
        exit
        ;;
    *) die "unknown argument $1; see --help" ;;
esac
command -v valgrind >/dev/null || {
    echo "valgrind is missing; scripts/test.sh setup installs it"
    exit "$CANNOT"
}

# What the counts depend on besides the code: the compiler, and what valgrind's processor can do. That one has AVX2 where
# the real one has it, and nothing newer.
machine="$(rustc --version), $(uname -m)"
for feature in sse4_2 avx2; do
    ! grep -qsw "$feature" /proc/cpuinfo || machine+=" $feature"
done

known=$(sed -n 's/^# machine: //p' "$baseline" 2>/dev/null || true)
if [[ -z $renew && $known != "$machine" ]]; then
    echo "the baseline was made with: $known"
    echo "this machine has:           $machine"
    echo "nothing was compared; scripts/guard.sh --renew on such a machine makes a new baseline"
    exit "$CANNOT"
fi

# The profile of the tests: what the data path is made of is built with full optimization there, and is built already.
cargo build --quiet --locked -p decant-cloner --example instructions
program=${CARGO_TARGET_DIR:-target}/debug/examples/instructions

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Copies are made by loops, not by one long instruction, so that a needless copy counts for what it is.
export GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000:glibc.cpu.x86_rep_stosb_threshold=100000000

# count CASE: its instructions.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --toggle-collect='*measured*' \
        "$program" "$1" >"$work/$1.log" 2>&1 || {
        cat "$work/$1.log" >&2
        die "$1 failed"
    }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/$1.log"
}

"$program" >"$work/cases"
# Two at a time: the count does not mind.
while read -r name; do
    while [[ $(jobs -rp | wc -l) -ge 2 ]]; do wait -n; done
    count "$name" >"$work/$name.count" &
done <"$work/cases"
wait

failed=0
{
    echo "# Instructions of each piece of work in cloner/benches/instructions.rs; scripts/guard.sh --renew writes them."
    echo "# machine: $machine"
} >"$work/new.tsv"
while read -r name; do
    found=$(cat "$work/$name.count")
    [[ $found && $found -gt 1000 ]] || die "nothing was counted for $name"
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
        verdict="dearer than the baseline allows" failed=1
    elif [[ $((found * 100)) -lt $((wanted * (100 - TOLERANCE_PERCENT))) ]]; then
        verdict="cheaper: --renew keeps it so"
    fi
    printf '%-20s %12d instructions, %s %%, %s\n' "$name" "$found" "$percent" "$verdict"
done <"$work/cases"
if [[ $renew ]]; then
    mkdir -p "$(dirname "$baseline")"
    cp "$work/new.tsv" "$baseline"
    cat "$baseline"
fi
exit "$failed"
