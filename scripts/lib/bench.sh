# shellcheck shell=bash
# Sourced by the benches beside this directory, after setup.sh: what they measure with, and what they measure.

# bench_tools COMMAND:PACKAGE...: installs those that are missing, and GNU time.
bench_tools() {
    local tool packages=()
    for tool in "$@"; do
        has "${tool%%:*}" || packages+=("${tool#*:}")
    done
    # `time` is also a word of the shell.
    [[ -x /usr/bin/time ]] || packages+=(time)
    [[ ${#packages[@]} -eq 0 ]] || install_packages "${packages[@]}"
}

# CLONER becomes the whole path of what it names, or of a release build.
find_cloner() {
    if [[ -z ${CLONER-} ]]; then
        cargo build --quiet --locked --release -p decant-cloner
        CLONER=${CARGO_TARGET_DIR:-target}/release/cloner
    fi
    [[ -x $CLONER ]] || die "CLONER names no program: $CLONER"
    CLONER=$(readlink -e "$CLONER")
}
