# shellcheck shell=bash disable=SC2034,SC2154  # scripts/bench.sh sets and reads variables of this file
# Sourced by scripts/bench.sh: measures what many clones cost the controller and the API server. The test of the budget prints the
# table.

# shellcheck source=scripts/cluster/build.sh
. scripts/cluster/build.sh
# shellcheck source=scripts/cluster/versions.sh
. scripts/cluster/versions.sh

SETS=() DEFAULT_SETS=() POINTS=() DEFAULT_POINTS=()

check_controller() {
    [[ $EUID -eq 0 ]] || die "starting an API server needs root"
}

run_controller() {
    undo=(scripts/cluster.sh api down)
    DECANT_API_KUBECONFIG=$(scripts/cluster.sh api up | tail -n 1)
    export DECANT_API_KUBECONFIG
    "$(programs_directory)/kubectl" --kubeconfig "$DECANT_API_KUBECONFIG" apply -f controller/deploy/base/crds.yaml >/dev/null
    cargo build --locked --quiet --release -p decant-controller
    DECANT_CONTROLLER=${CARGO_TARGET_DIR:-$PWD/target}/release/controller
    export DECANT_CONTROLLER
    local load
    for load in 100:100 1000:1000 10000:100; do
        DECANT_BUDGET_LOAD=$load cargo test --locked --quiet --workspace --test api -- --nocapture budget:: | grep '^|'
    done
}
