# shellcheck shell=bash
# Sourced by scripts that run debug builds of the programs.

# build_debug: builds every program and example of the workspace, and sets `debug` to the directory that holds them.
#
# The command selects the whole workspace with its development dependencies, like `cargo test --workspace`. Cargo unifies
# the features of all selected packages: with another selection it would compile many crates a second time.
build_debug() {
    cargo build --locked --quiet --workspace --bins --examples
    # shellcheck disable=SC2034  # for the caller
    debug=$(readlink -e "${CARGO_TARGET_DIR:-target}/debug")
}
