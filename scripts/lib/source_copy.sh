# shellcheck shell=bash
# Sourced by scripts that build images in a copy of this directory.

# copy_source DIRECTORY: copies the tracked files to the directory. An existing `target` in it stays, so that Cargo rebuilds only what
# has changed. The images get the time of the last commit.
copy_source() {
    mkdir -p "$1"
    find "$1" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    git ls-files -z | tar -c --null --files-from - | tar -x -C "$1"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
}

# without_optimization: makes later release builds fast to build and unoptimized.
without_optimization() {
    export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
}
