#!/usr/bin/env bash
# Brings up a cluster, loads the images, and runs the tests that need both; takes the cluster down again, also after
# a failure. A cluster that is up already is used and left up. As root.
#
#   scripts/on_cluster.sh [NAME]      only tests whose name contains NAME
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/cluster/build.sh
. scripts/cluster/build.sh

case ${1-} in -h | --help)
    show_help
    exit ;;
esac
[[ $EUID -eq 0 ]] || die "a cluster needs root"
unset KUBECONFIG
# take_down: of what was brought up here.
ours=()
take_down() {
    local what
    for what in "${ours[@]}"; do
        # shellcheck disable=SC2086  # two words
        scripts/cluster.sh $what
    done
}
trap take_down EXIT
trap 'exit 130' INT TERM
if ! scripts/cluster.sh status >/dev/null 2>&1; then
    # What a machine that went down left behind.
    scripts/cluster.sh down
    ours+=("down")
fi
KUBECONFIG=$(scripts/cluster.sh up | tail -n 1)
export KUBECONFIG
PATH=$PATH:$(kubernetes_folder)
DECANT_NEWEST_KUBECTL=$(helm_folder)/kubectl
export DECANT_NEWEST_KUBECTL
scripts/cluster.sh images
scripts/image_test.sh
# The tests' controllers have the rights of the role and no others.
kubectl apply -f controller/deploy/base/namespace.yaml -f controller/deploy/base/crds.yaml -f controller/deploy/base/rbac.yaml \
    -f controller/deploy/base/proxy.yaml
cargo build --locked --quiet -p kubectl-decant
clones() { cargo test --locked -p decant-controller --test clones -- "$@"; }
if [[ $# -gt 0 ]]; then
    clones --test-threads=1 "$@"
    exit
fi
DECANT_CALLS_FILE=$(mktemp)
export DECANT_CALLS_FILE
# First those that need the whole cluster, then those with a controller for a namespace of their own, then what
# all of them noted.
clones --test-threads=1 alone:: installed::
clones --test-threads=4 --skip alone:: --skip installed:: --skip rights::
clones rights::
rm "$DECANT_CALLS_FILE"

# An API server without a node, and the optimized program that is in the image.
ours+=("api down")
DECANT_API_KUBECONFIG=$(scripts/cluster.sh api up | tail -n 1)
DECANT_CONTROLLER=$PWD/target/static/$(uname -m)-unknown-linux-gnu/release/controller
DECANT_CLONER=${DECANT_CONTROLLER%/*}/cloner
export DECANT_API_KUBECONFIG DECANT_CONTROLLER DECANT_CLONER
kubectl --kubeconfig "$DECANT_API_KUBECONFIG" apply -f controller/deploy/base/crds.yaml
scripts/chart.sh
api() { cargo test --locked -p decant-controller --test api -- "$@"; }
api --skip budget::
# Alone: it counts CPU time.
api --nocapture budget::
# Last: it leaves an installation.
scripts/manifests.sh
