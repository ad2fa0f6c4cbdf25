# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: what all measurements need. Variables of scripts/bench.sh: work, running, rounds, scale.

# install_tools COMMAND:PACKAGE...: installs the missing ones, and GNU time.
install_tools() {
    local packages=()
    add_missing python3:python3 "$@"
    # `time` is also a keyword of the shell.
    [[ -x /usr/bin/time ]] || packages+=(time)
    [[ ${#packages[@]} -eq 0 ]] || install_packages "${packages[@]}"
}

# find_cloner: makes CLONER an absolute path, after a release build if it is not set.
find_cloner() {
    if [[ -z ${CLONER-} ]]; then
        cargo build --quiet --locked --release -p decant-cloner
        CLONER=${CARGO_TARGET_DIR:-target}/release/cloner
    fi
    [[ -x $CLONER ]] || die "CLONER is not a program: $CLONER"
    CLONER=$(readlink -e "$CLONER")
}

# `doing` is what runs now, for the error message. `undo` is the command to run at exit, after the processes have ended.
doing='' undo=(true)

end_bench() {
    if [[ $1 -ne 0 && $doing ]]; then
        echo "bench.sh: failed: $doing" >&2
        tail -n 20 "$work"/*.log >&2 || true
    fi
    end_work
    "${undo[@]}" || true
}

now() { date +%s%N; }

# make_data SET PATH SCALE
make_data() {
    echo "making $1" >&2
    python3 scripts/bench/data.py "$1" "$2" "$3"
}

# timed NAME COMMAND...: runs the command under GNU time. The file NAME.time gets wall, user and system seconds and peak KiB.
timed() {
    /usr/bin/time -q -f '%e %U %S %M' -o "$work/$1.time" "${@:2}"
}

# time_command NAME: sets `wrapper` to a command that measures like `timed`, in a separate process group. The group contains only
# GNU time and the measured program.
time_command() {
    wrapper=(setsid /usr/bin/time -q -f '%e %U %S %M' -o "$work/$1.time")
}

# time_ends: makes start_target and start_source of scripts/lib/ends.sh write target.time and source.time.
time_ends() {
    local wrapper
    time_command target
    target_wrapper=("${wrapper[@]}")
    time_command source
    source_wrapper=("${wrapper[@]}")
    export target_wrapper source_wrapper
}

# record VALUE...: writes one run for scripts/bench/table.py, and prints it.
record() {
    local IFS=$'\t'
    echo "$*" | tee -a "$work/runs" | sed 's/^/  /' >&2
}
