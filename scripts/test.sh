#!/usr/bin/env bash
# Runs all checks of Decant on a Debian 12 machine with Rust. A failed step does not end the run, but makes it fail.
#
#   scripts/test.sh              runs every step, in this order
#   scripts/test.sh STEP...      runs only these steps
#   scripts/test.sh lint unit    is the loop for daily work: less than five minutes after a small change
#
# Steps, and how long each takes on two cores, with a warm target directory / in a new checkout:
#     setup      installs missing packages and tools, as root or with sudo          10 s / 25 min
#     format     rustfmt                                                             3 s
#     lint       clippy; warnings are errors                                        1 min / 3 min
#     docs       rustdoc; warnings are errors                                       30 s
#     alone      each crate compiles without the features that the others enable    15 s
#     unit       library tests, documentation tests and the short integration tests 3 min / 9 min
#     system     integration tests with loop devices, killed processes, resumed
#                clones and large copies (the list: scripts/test/targets.py)        12 min
#     guard      counts the instructions of the data path, compares with a baseline  1 min
#     scripts    shellcheck, and a test of the cluster's versions                   15 s
#     supply     licences, duplicates and sources of all crates (scripts/audit.sh
#                looks for known vulnerabilities)                                    2 s
#     chart      the Helm chart renders the same objects as kustomize               25 s
#     interop    curl, tar, openssl, cramjam and promtool use the cloner             5 s
#     cluster    clones on a real Kubernetes that the step starts. The first run
#                builds Kubernetes, which takes 8 minutes                           20 min
#     images     two builds of the cloner's image have one digest; the image for
#                arm64 clones on an emulated processor                              7 min
#     fuzz       runs every fuzz target for a few seconds                            2 min / 5 min
#
# A run of all steps builds what cluster, images and fuzz need in the background, at the lowest priority, while other
# steps wait for timers and disks (scripts/test/prepare.sh).
#
# Environment: FUZZ_SECS (10) for each fuzz target; RUST_TEST_THREADS (twice the number of processors: most tests wait);
# CI=true turns a step that cannot run into a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
help_if_asked "$@"

STEPS=(setup format lint docs alone unit system guard scripts supply chart interop cluster images fuzz)

# The exit code of a step that cannot run on this machine.
CANNOT_RUN=75

step_setup() { setup; }

step_format() {
    cargo fmt --all --check
    cargo fmt --manifest-path cloner/fuzz/Cargo.toml --check
    cargo fmt --manifest-path controller/fuzz/Cargo.toml --check
}

step_lint() {
    cargo clippy --locked --workspace --all-targets -- -D warnings
    # `--all-targets` does not include tests with `test = false`.
    local selection
    select_tests cluster
    cargo clippy --locked --workspace "${selection[@]}" -- -D warnings
}

step_docs() {
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
}

step_alone() {
    local crates crate
    crates=$(cargo metadata --locked --no-deps --format-version 1 |
        python3 -c 'import json, sys; print("\n".join(package["name"] for package in json.load(sys.stdin)["packages"]))')
    [[ $crates ]]
    for crate in $crates; do
        cargo check --locked --quiet -p "$crate"
    done
}

# select_tests STEP: sets `selection` to the arguments that select the test binaries of a step.
select_tests() {
    local output
    output=$(scripts/test/targets.py "$1")
    mapfile -t selection <<<"$output"
}

# run_tests STEP
run_tests() {
    local selection
    select_tests "$1"
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
    cargo test --locked --workspace --no-fail-fast "${selection[@]}"
}

step_unit() {
    run_tests unit
    cargo test --locked --workspace --doc --quiet
}

step_system() {
    run_tests system
    scripts/test/targets.py check
}

step_guard() { scripts/guard.sh; }

step_scripts() {
    needs shellcheck || return
    git ls-files -z -- '*.sh' .ci/run | xargs -0 shellcheck -x
    scripts/cluster/versions_test.sh
}

step_supply() {
    needs cargo-deny || return
    # The check needs the sources of the crates, and runs offline.
    cargo fetch --locked --quiet
    cargo deny --locked --offline check bans licenses sources
}

step_chart() {
    needs "$(helm_directory)/helm" "$(venv_directory)/bin/python" || return
    scripts/manifests.sh
    scripts/chart.sh
}

step_images() {
    [[ $EUID -eq 0 ]] || {
        echo "packing an image needs root"
        return "$CANNOT_RUN"
    }
    needs buildah cargo-auditable || return
    [[ $(uname -m) = aarch64 ]] || needs aarch64-linux-gnu-gcc qemu-aarch64-static || return
    if [[ $prepare_pid ]]; then
        wait_for reproduce
        cat "$prepared/reproduce.log"
        [[ $(<"$prepared/reproduce.status") = 0 ]]
    else
        scripts/reproduce.sh
    fi
    wait_for arm64
    scripts/arm64.sh
}

step_interop() {
    needs curl openssl bsdtar promtool "$(venv_directory)/bin/python" || return
    scripts/interop.sh
}

step_cluster() {
    [[ $EUID -eq 0 ]] || {
        echo "starting a cluster needs root"
        return "$CANNOT_RUN"
    }
    wait_for image
    wait_for kubernetes
    scripts/on_cluster.sh
}

step_fuzz() {
    needs cargo-fuzz c++ || return
    wait_for fuzz
    scripts/fuzz.sh "${FUZZ_SECS:-10}"
}

needs() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || {
            echo "$tool is missing; scripts/test.sh setup installs it"
            return "$CANNOT_RUN"
        }
    done
}

# The background builds; empty if there are none.
prepare_pid='' prepared=''

start_preparing() {
    prepared=$(mktemp -d)
    # In its own process group, so that all of its compilers can be ended with it.
    setsid nice -n 19 scripts/test/prepare.sh "$prepared" </dev/null &
    prepare_pid=$!
}

stop_preparing() {
    [[ $prepare_pid ]] || return 0
    kill -- "-$prepare_pid" 2>/dev/null || true
    wait "$prepare_pid" 2>/dev/null || true
    rm -rf "$prepared"
}
trap stop_preparing EXIT
trap 'exit 130' INT TERM

# wait_for JOB: waits until a background job has ended, if there are background jobs.
wait_for() {
    [[ $prepare_pid ]] || return 0
    until [[ -f $prepared/$1.status ]]; do
        kill -0 "$prepare_pid" 2>/dev/null || die "the background job $1 was killed"
        sleep 1
    done
}

chosen=("$@")
[[ $# -gt 0 ]] || chosen=("${STEPS[@]}")
for step in "${chosen[@]}"; do
    [[ " ${STEPS[*]} " = *" $step "* ]] || die "no such step: $step; see --help"
done

export PATH=$PATH:$HOME/.cargo/bin
failed=() skipped=()
for step in "${chosen[@]}"; do
    echo "==> $step"
    start=$SECONDS status=0
    # In a subshell, and not as a condition: `set -e` has no effect in a condition.
    set +e
    (
        trap - EXIT
        set -e
        "step_$step"
    )
    status=$?
    set -e
    if [[ $status -eq $CANNOT_RUN && ${CI-} != true ]]; then
        skipped+=("$step")
        echo "==> $step skipped"
    elif [[ $status -ne 0 ]]; then
        failed+=("$step")
        echo "==> $step FAILED after $((SECONDS - start)) s"
    else
        echo "==> $step ok, $((SECONDS - start)) s"
    fi
    # Not before `setup` has installed the tools.
    [[ $# -gt 0 || $step != setup ]] || start_preparing
done

echo
[[ ${#skipped[@]} -eq 0 ]] || echo "skipped: ${skipped[*]}"
[[ ${#failed[@]} -eq 0 ]] || echo "failed: ${failed[*]}"
echo "in $SECONDS s"
passed=$((${#chosen[@]} - ${#failed[@]} - ${#skipped[@]}))
echo "steps: $passed passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
[[ ${#failed[@]} -eq 0 ]]
