#!/usr/bin/env bash
# All checks of Decant, on a Debian 12 machine with Rust. What is missing is installed first (as root or with
# sudo). Fails if any step fails, but always runs them all.
#
#   scripts/test.sh              every step, in this order:
#     setup      installs packages and tools that are missing
#     format     rustfmt
#     lint       clippy, warnings are errors
#     docs       rustdoc, warnings are errors
#     alone      each crate builds without the others' features
#     unit       unit, integration and documentation tests
#     guard      instructions of fixed pieces of work against a baseline: has the data path become dearer?
#     scripts    shellcheck
#     supply     licences, duplicates and sources of all crates (advisories: scripts/audit.sh)
#     chart      the Helm chart makes what kustomize makes
#     images     the cloner's image, built twice, has one digest; packed without optimization.
#                And for arm64, where it clones on an emulated processor
#     strangers  curl, tar, openssl, cramjam and promtool against the built cloner
#     cluster    clones on a real Kubernetes that is brought up for it (the first time it is built: 8 minutes)
#     fuzz       every fuzz target for a few seconds
#   scripts/test.sh STEP...      only these
#
# Environment: FUZZ_SECS (10) for each fuzz target; CI=true makes a step that cannot run a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh

STEPS=(setup format lint docs alone unit guard scripts supply chart images strangers cluster fuzz)

# A step that returns this could not run here.
CANNOT=75

step_setup() { setup; }

step_format() {
    cargo fmt --all --check
    cargo fmt --manifest-path cloner/fuzz/Cargo.toml --check
    cargo fmt --manifest-path controller/fuzz/Cargo.toml --check
}

step_lint() {
    cargo clippy --locked --workspace --all-targets -- -D warnings
    # Those that need a cluster: "all targets" leaves out what `cargo test` does not run by itself.
    cargo clippy --locked -p decant-controller --test clones --test api -- -D warnings
}

step_docs() {
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
}

step_alone() {
    local crate
    for crate in decant-shared decant-cloner decant-controller kubectl-decant; do
        cargo check --locked --quiet -p "$crate"
    done
}

step_unit() { cargo test --locked --workspace --no-fail-fast; }

step_guard() { scripts/guard.sh; }

step_scripts() {
    needs shellcheck || return
    git ls-files -z -- '*.sh' .ci/run | xargs -0 shellcheck -x
}

step_supply() {
    needs cargo-deny || return
    # What the check reads must be there before it runs without a network.
    cargo fetch --locked --quiet
    cargo deny --locked --offline check bans licenses sources
}

step_chart() {
    needs "$(helm_folder)/helm" "$(venv_folder)/bin/python" || return
    scripts/manifests.sh
    scripts/chart.sh
}

step_images() {
    [[ $EUID -eq 0 ]] || {
        echo "images are packed as root"
        return "$CANNOT"
    }
    needs buildah cargo-auditable || return
    [[ $(uname -m) = aarch64 ]] || needs aarch64-linux-gnu-gcc qemu-aarch64-static || return
    scripts/reproduce.sh
    scripts/arm64.sh
}

step_strangers() {
    needs curl openssl bsdtar promtool "$(venv_folder)/bin/python" || return
    scripts/strangers.sh
}

step_cluster() {
    [[ $EUID -eq 0 ]] || {
        echo "a cluster needs root"
        return "$CANNOT"
    }
    scripts/on_cluster.sh
}

step_fuzz() {
    needs cargo-fuzz c++ || return
    scripts/fuzz.sh "${FUZZ_SECS:-10}"
}

needs() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || {
            echo "$tool is missing; scripts/test.sh setup installs it"
            return "$CANNOT"
        }
    done
}

case ${1-} in -h | --help)
    show_help
    exit ;;
esac
chosen=("$@")
[[ $# -gt 0 ]] || chosen=("${STEPS[@]}")
for step in "${chosen[@]}"; do
    [[ " ${STEPS[*]} " = *" $step "* ]] || die "no step is called $step; see --help"
done

export PATH=$PATH:$HOME/.cargo/bin
failed=() left_out=()
for step in "${chosen[@]}"; do
    echo "==> $step"
    began=$SECONDS status=0
    # In a shell of its own and not as a condition: there `set -e` still ends the step at its first failure.
    set +e
    (
        set -e
        "step_$step"
    )
    status=$?
    set -e
    if [[ $status -eq $CANNOT && ${CI-} != true ]]; then
        left_out+=("$step")
        echo "==> $step left out"
    elif [[ $status -ne 0 ]]; then
        failed+=("$step")
        echo "==> $step FAILED after $((SECONDS - began)) s"
    else
        echo "==> $step ok, $((SECONDS - began)) s"
    fi
done

echo
[[ ${#left_out[@]} -eq 0 ]] || echo "left out: ${left_out[*]}"
[[ ${#failed[@]} -eq 0 ]] || echo "failed: ${failed[*]}"
echo "in $SECONDS s"
passed=$((${#chosen[@]} - ${#failed[@]} - ${#left_out[@]}))
echo "steps: $passed passed, ${#failed[@]} failed, ${#left_out[@]} skipped"
[[ ${#failed[@]} -eq 0 ]]
