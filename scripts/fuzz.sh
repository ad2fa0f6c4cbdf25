#!/usr/bin/env bash
# Fuzzes everything that reads bytes from a peer or objects of the cluster.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     default: 10 seconds each, all targets of cloner/fuzz and controller/fuzz
#   scripts/fuzz.sh --build                   only builds all targets
#
# Needs cargo-fuzz and a C++ compiler, but no nightly toolchain: RUSTC_BOOTSTRAP lets the installed compiler take the
# sanitizer flags. New inputs are kept in fuzz/corpus of the crate, failing inputs in fuzz/artifacts; neither is committed.
# As many targets run at once as there are processors.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
help_if_asked "$@"

seconds=10 only_build=''
if [[ ${1-} = --build ]]; then
    only_build=yes
    shift
elif [[ ${1-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi

export RUSTC_BOOTSTRAP=1
# A separate directory: the instrumented build shares nothing with the ordinary one.
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
export CARGO_TARGET_DIR=$target_dir
wanted=("$@") found=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# fuzz_crate DIRECTORY: builds and runs the targets of one crate, all or the wanted ones.
fuzz_crate() {
    local fuzz=$1 targets=() all=() target
    mapfile -t all < <(cargo fuzz list --fuzz-dir "$fuzz")
    for target in "${all[@]}"; do
        if [[ ${#wanted[@]} -eq 0 || " ${wanted[*]} " == *" $target "* ]]; then
            targets+=("$target")
        fi
    done
    [[ ${#targets[@]} -gt 0 ]] || return 0
    found+=("${targets[@]}")

    # Fails if the dependencies of the crate have changed. Then run
    # `cargo update --workspace --manifest-path CRATE/fuzz/Cargo.toml`.
    cargo fetch --locked --quiet --manifest-path "$fuzz/Cargo.toml"
    if [[ ${#targets[@]} -eq ${#all[@]} ]]; then
        cargo fuzz build --fuzz-dir "$fuzz" --target-dir "$target_dir"
    else
        for target in "${targets[@]}"; do
            cargo fuzz build --fuzz-dir "$fuzz" --target-dir "$target_dir" "$target"
        done
    fi
    [[ -z $only_build ]] || return 0

    for target in "${targets[@]}"; do
        while [[ $(jobs -rp | wc -l) -ge $(nproc) ]]; do wait -n || true; done
        run "$fuzz" "$target" &
    done
    wait
}

# run DIRECTORY TARGET: the output is printed at once, when the target ends. A failure leaves a file in $work.
run() {
    mkdir -p "$1/corpus/$2"
    # Less than 512 MiB, so that an allocation of the size that an input declares is a finding; no input may take longer
    # than 10 s. libFuzzer writes new inputs to the first directory only, so the seeds come second.
    if cargo fuzz run --fuzz-dir "$1" --target-dir "$target_dir" "$2" "$1/corpus/$2" "$1/seeds/$2" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=128 \
        -max_len=65536 -print_final_stats=1 >"$work/$2.log" 2>&1; then
        echo "fuzz $2 for $seconds s: $(grep -E 'number_of_executed_units' "$work/$2.log" || true)"
    else
        : >"$work/failed"
        echo "fuzz $2: FAILED"$'\n'"$(<"$work/$2.log")"
    fi
}

for fuzz in cloner/fuzz controller/fuzz; do
    fuzz_crate "$fuzz"
done
for target in "${wanted[@]}"; do
    if [[ " ${found[*]} " != *" $target "* ]]; then
        die "no such fuzz target: $target"
    fi
done
[[ ! -e $work/failed ]]
