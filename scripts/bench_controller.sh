#!/usr/bin/env bash
# What many clones cost the controller and the API server: 100 and 1,000 running clones, and 100 among 10,000
# DataVolumes. As root; takes about ten minutes. Prints a table for docs/performance.md.
#
#   scripts/bench_controller.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/cluster/build.sh
. scripts/cluster/build.sh
case ${1-} in -h | --help)
    show_help
    exit ;;
esac
[[ $EUID -eq 0 ]] || die "an API server needs root"

trap 'scripts/cluster.sh api down' EXIT
trap 'exit 130' INT TERM
DECANT_API_KUBECONFIG=$(scripts/cluster.sh api up | tail -n 1)
export DECANT_API_KUBECONFIG
"$(kubernetes_directory)/kubectl" --kubeconfig "$DECANT_API_KUBECONFIG" apply -f controller/deploy/base/crds.yaml >/dev/null
cargo build --locked --quiet --release -p decant-controller
DECANT_CONTROLLER=${CARGO_TARGET_DIR:-$PWD/target}/release/controller
export DECANT_CONTROLLER
cargo test --locked --quiet -p decant-controller --test api -- --include-ignored --nocapture --test-threads=1 budget:: |
    grep '^|'
