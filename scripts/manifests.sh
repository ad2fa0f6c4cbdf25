#!/usr/bin/env bash
# Tests the kustomize directories with the oldest supported kubectl and the newest: both render them without a warning.
#
#   scripts/manifests.sh      needs no network. scripts/test.sh setup fetches the newest kubectl, scripts/cluster.sh builds
#                             the oldest, which is left out if it is not there
#
# With DECANT_API_KUBECONFIG, the kubeconfig of a temporary cluster, each kubectl also applies controller/deploy twice: the
# second time must change nothing.
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

# quietly WHAT COMMAND...: fails on an error, and on any output on standard error.
quietly() {
    "${@:2}" >"$work/out" 2>"$work/stderr" || { cat "$work/stderr" >&2; die "$1 fails"; }
    [[ ! -s $work/stderr ]] || { cat "$work/stderr" >&2; die "$1 prints a warning"; }
}

# renders KUBECTL DIRECTORY...: fails unless kubectl renders each directory without a warning.
renders() {
    local directory
    for directory in "${@:2}"; do
        quietly "$1 kustomize controller/deploy/$directory" "$1" kustomize "controller/deploy/$directory"
        [[ -s $work/out ]] || die "controller/deploy/$directory renders nothing"
    done
    ok "kubectl $(version "$1") renders controller/deploy/{$(IFS=, && echo "${*:2}")} without a warning"
}
# Directories that do not include base/: kubectl before 1.21 does not support the field that includes it.
alone=(. base admission clone-policies monitoring)
renders "$newest" "${alone[@]}" webhook namespaced beside-cdi
kubectls=("$newest")
if [[ -x $oldest ]]; then
    renders "$oldest" "${alone[@]}"
    kubectls+=("$oldest")
fi

[[ ${DECANT_API_KUBECONFIG-} ]] || exit 0
export KUBECONFIG=$DECANT_API_KUBECONFIG
# twice KUBECTL DIRECTORY: applies the directory two times; fails if the second time changes anything.
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
# These do not remove what the others added, so they only replace rules and settings here.
twice "$newest" controller/deploy/beside-cdi
"$newest" create namespace team --dry-run=client --output=yaml | "$newest" apply -f - >/dev/null
twice "$newest" controller/deploy/namespaced
twice "$newest" controller/deploy/clone-policies
# Since Kubernetes 1.30 each API server has these policies.
if "$newest" api-resources --api-group=admissionregistration.k8s.io --output=name | grep -q ^validatingadmissionpolicies; then
    twice "$newest" controller/deploy/admission
fi
