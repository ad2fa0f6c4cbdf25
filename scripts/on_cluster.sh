#!/usr/bin/env bash
# Starts a cluster, loads the images, and runs the tests that need both; then stops the cluster, also after a failure. A
# cluster that already runs is used and stays. As root.
#
#   scripts/on_cluster.sh [--kubernetes DIR] [NAME]      only tests whose name contains NAME
#
# --kubernetes, or DECANT_KUBERNETES, names the programs of another version of Kubernetes (scripts/cluster.sh --help).
set -euo pipefail
invoked_in=$PWD
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/cluster/versions.sh
. scripts/cluster/versions.sh
# shellcheck source=scripts/lib/build.sh
. scripts/lib/build.sh

help_if_asked "$@"
arguments=()
take_kubernetes_option "$invoked_in" "$@"
set -- "${arguments[@]}"
[[ $EUID -eq 0 ]] || die "starting a cluster needs root"
unset KUBECONFIG
# What this script started, as arguments of scripts/cluster.sh.
started=()
take_down() {
    local what
    for what in "${started[@]}"; do
        # shellcheck disable=SC2086  # two arguments
        scripts/cluster.sh $what
    done
}
trap take_down EXIT
trap 'exit 130' INT TERM
if ! scripts/cluster.sh status >/dev/null 2>&1; then
    # Removes what is left of a cluster that was not stopped.
    scripts/cluster.sh down
    started+=("down")
fi
scripts/cluster.sh up
eval "$(scripts/cluster.sh env)"
DECANT_NEWEST_KUBECTL=$(helm_directory)/kubectl
export DECANT_NEWEST_KUBECTL
scripts/cluster.sh images
scripts/image_test.sh
# The tests' controllers get exactly the rights of these roles.
kubectl apply -f controller/deploy/base/namespace.yaml -f controller/deploy/base/crds.yaml -f controller/deploy/base/rbac.yaml \
    -f controller/deploy/base/proxy.yaml
# Without the objects of an earlier run: the controllers create them again, which needs a right.
kubectl delete --ignore-not-found -f scripts/cluster/definitions.yaml
kubectl apply -f scripts/cluster/definitions.yaml
# The tests also run the kubectl plugin.
build_debug
scripts/cluster.sh status | grep -x "provisioner runs" >/dev/null || started+=("provisioner down")
scripts/cluster.sh provisioner up
# With the features of the whole workspace, as in the other steps: nothing is compiled twice.
clones() { cargo test --locked --workspace --test clones -- "$@"; }
if [[ $# -gt 0 ]]; then
    clones --test-threads=1 "$@"
    exit
fi
DECANT_CALLS_FILE=$(mktemp)
export DECANT_CALLS_FILE
# First the tests that need the whole cluster, then those with a controller for their own namespace, then the test that
# reads the calls which all of them recorded.
clones --test-threads=1 alone:: installed::
clones --test-threads=4 --skip alone:: --skip installed:: --skip rights::
clones rights::
rm "$DECANT_CALLS_FILE"

# An API server without a node, and the optimized programs from the images.
started+=("api down")
DECANT_API_KUBECONFIG=$(scripts/cluster.sh api up | tail -n 1)
DECANT_CONTROLLER=$PWD/target/static/$(uname -m)-unknown-linux-gnu/release/controller
DECANT_CLONER=${DECANT_CONTROLLER%/*}/cloner
export DECANT_API_KUBECONFIG DECANT_CONTROLLER DECANT_CLONER
kubectl --kubeconfig "$DECANT_API_KUBECONFIG" apply -f controller/deploy/base/crds.yaml
scripts/chart.sh
api() { cargo test --locked --workspace --test api -- "$@"; }
api --skip budget::
# Alone, because it counts CPU time.
api --nocapture budget::
# Last, because it leaves an installation.
scripts/manifests.sh
