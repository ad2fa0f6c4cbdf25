#!/usr/bin/env bash
# The kustomize directories with the oldest kubectl that counts and the newest: both render them and say nothing else.
#
#   scripts/manifests.sh      without a network; the newest kubectl is the one that scripts/test.sh setup fetched, the oldest the
#                             one that scripts/cluster.sh builds (left out while it is not there)
#
# With DECANT_API_KUBECONFIG, the kubeconfig of a cluster that is thrown away afterwards, each of them also applies
# controller/deploy twice: the second time changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/cluster/build.sh
. scripts/cluster/build.sh
help_if_asked "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
newest=$(helm_directory)/kubectl
oldest=$(kubernetes_directory)/kubectl
[[ -x $newest ]] || die "no kubectl in ${newest%/*}; scripts/test.sh setup fetches it"
version() { "$1" version --client -o json | sed -n 's/.*"gitVersion": "\(.*\)".*/\1/p'; }
ok() { echo "ok   $*"; }

# quietly WHAT COMMAND...: an error, a warning or anything else on standard error is a failure.
quietly() {
    "${@:2}" >"$work/out" 2>"$work/said" || { cat "$work/said" >&2; die "$1 fails"; }
    [[ ! -s $work/said ]] || { cat "$work/said" >&2; die "$1 says something besides"; }
}

# renders KUBECTL DIRECTORY...
renders() {
    local directory
    for directory in "${@:2}"; do
        quietly "$1 kustomize controller/deploy/$directory" "$1" kustomize "controller/deploy/$directory"
        [[ -s $work/out ]] || die "controller/deploy/$directory makes nothing"
    done
    ok "kubectl $(version "$1") renders controller/deploy/{$(IFS=, && echo "${*:2}")} without a warning"
}
# Those that stand alone. The other two build on base/, for which kubectl before 1.21 has another word.
alone=(. base admission clone-policies monitoring)
renders "$newest" "${alone[@]}" webhook namespaced
kubectls=("$newest")
if [[ -x $oldest ]]; then
    renders "$oldest" "${alone[@]}"
    kubectls+=("$oldest")
fi

[[ ${DECANT_API_KUBECONFIG-} ]] || exit 0
export KUBECONFIG=$DECANT_API_KUBECONFIG
# twice KUBECTL DIRECTORY
twice() {
    quietly "$1 apply -k $2" "$1" apply -k "$2"
    quietly "$1 apply -k $2, a second time," "$1" apply -k "$2"
    ! grep -v ' unchanged$' "$work/out" || die "kubectl $(version "$1") apply -k $2 changes something the second time"
    ok "kubectl $(version "$1") apply -k $2 changes nothing the second time"
}
for kubectl in "${kubectls[@]}"; do
    twice "$kubectl" controller/deploy
done
twice "$newest" controller/deploy/webhook
