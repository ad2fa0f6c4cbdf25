#!/usr/bin/env bash
# Fuzzes everything that reads bytes from a peer, and everything that reads objects of the cluster.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     default: 10 seconds each, all targets of cloner/fuzz and
#                                             controller/fuzz
#
# Needs cargo-fuzz and a C++ compiler, but no nightly toolchain: RUSTC_BOOTSTRAP lets the installed one take
# the sanitizer flags. What is found new is kept in fuzz/corpus of the crate, an input that fails in
# fuzz/artifacts; neither is committed.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1-} in -h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
    exit ;;
esac
seconds=10
if [[ ${1-} =~ ^[0-9]+$ ]]; then
    seconds=$1
    shift
fi

export RUSTC_BOOTSTRAP=1
# Its own folder: the instrumented build shares nothing with the ordinary one.
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
export CARGO_TARGET_DIR=$target_dir
status=0
wanted=("$@")

# The targets of one crate, all or those that are wanted.
fuzz_crate() {
    local fuzz=$1 targets=() all=() target output
    mapfile -t all < <(cargo fuzz list --fuzz-dir "$fuzz")
    for target in "${all[@]}"; do
        if [[ ${#wanted[@]} -eq 0 || " ${wanted[*]} " == *" $target "* ]]; then
            targets+=("$target")
        fi
    done
    [[ ${#targets[@]} -gt 0 ]] || return 0
    found+=("${targets[@]}")

    # The lock file names the crate's dependencies as well. When those have changed this fails, and
    # `cargo update --workspace --manifest-path CRATE/fuzz/Cargo.toml` brings it up to date.
    cargo fetch --locked --quiet --manifest-path "$fuzz/Cargo.toml"
    for target in "${targets[@]}"; do
        cargo fuzz build --fuzz-dir "$fuzz" --target-dir "$target_dir" "$target"
    done

    for target in "${targets[@]}"; do
        mkdir -p "$fuzz/corpus/$target"
        echo "fuzz $target for $seconds s"
        # Under 512 MiB, so that an allocation that follows a length in the input is a finding; no input may
        # take longer than 10 s. Seeds come second: new inputs are written to the first folder only.
        if ! output=$(cargo fuzz run --fuzz-dir "$fuzz" --target-dir "$target_dir" "$target" \
            "$fuzz/corpus/$target" "$fuzz/seeds/$target" -- \
            -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=128 \
            -max_len=65536 -print_final_stats=1 2>&1); then
            echo "$output"
            status=1
        else
            grep -E 'number_of_executed_units|^Done' <<<"$output" || true
        fi
    done
}

found=()
for fuzz in cloner/fuzz controller/fuzz; do
    fuzz_crate "$fuzz"
done
for target in "${wanted[@]}"; do
    if [[ " ${found[*]} " != *" $target "* ]]; then
        echo "there is no fuzz target $target" >&2
        status=1
    fi
done
exit "$status"
