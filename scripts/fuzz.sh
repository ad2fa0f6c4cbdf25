#!/usr/bin/env bash
# Fuzzes everything that reads bytes from a peer.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     default: 10 seconds each, all targets of cloner/fuzz
#
# Needs cargo-fuzz and a C++ compiler, but no nightly toolchain: RUSTC_BOOTSTRAP lets the installed one take
# the sanitizer flags. What is found new is kept in cloner/fuzz/corpus, an input that fails in
# cloner/fuzz/artifacts; neither is committed.
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
fuzz=cloner/fuzz
if [[ $# -eq 0 ]]; then
    mapfile -t targets < <(cargo fuzz list --fuzz-dir "$fuzz")
else
    targets=("$@")
fi

# The lock file names the cloner's dependencies as well. When those have changed this fails, and
# `cargo update --workspace --manifest-path cloner/fuzz/Cargo.toml` brings it up to date.
cargo fetch --locked --quiet --manifest-path "$fuzz/Cargo.toml"
for target in "${targets[@]}"; do
    cargo fuzz build --fuzz-dir "$fuzz" --target-dir "$target_dir" "$target"
done

status=0
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
exit "$status"
