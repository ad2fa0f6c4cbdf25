#!/usr/bin/env bash
# The Helm chart against the kustomize base: both make the same objects, values do what they say, wrong ones are refused.
#
#   scripts/chart.sh      without a network; helm and kubectl are those that scripts/test.sh setup fetched
#
# With DECANT_API_KUBECONFIG, the kubeconfig of a cluster where nothing of Decant is installed, the chart is also
# installed there, upgraded and removed again (its CustomResourceDefinitions stay, as they should).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
help_if_asked "$@"

tools=$(helm_directory)
python=$(venv_directory)/bin/python
[[ -x $tools/helm && -x $python ]] || die "no helm; scripts/test.sh setup fetches it"
work=$(mktemp -d)
installed=
clean_up() {
    if [[ $installed ]]; then
        helm uninstall decant --namespace "$installed" >/dev/null 2>&1 || true
        kubectl delete namespace "$installed" --wait=false >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Nothing of this machine's own Helm counts, and every symbolic link would be told about.
export HELM_CONFIG_HOME=$work HELM_CACHE_HOME=$work HELM_DATA_HOME=$work
helm() {
    local status=0
    KUBECONFIG=${DECANT_API_KUBECONFIG-} "$tools/helm" "$@" 2>"$work/said" || status=$?
    grep -v 'found symbolic link' "$work/said" >&2 || true
    return "$status"
}
kubectl() { KUBECONFIG=${DECANT_API_KUBECONFIG-} "$tools/kubectl" "$@"; }
ok() { echo "ok   $*"; }

helm lint --strict --quiet controller/deploy/chart
# What is tested is what is handed out: the package, in which the links are files.
helm package --destination "$work" controller/deploy/chart >/dev/null
chart=$(echo "$work"/decant-*.tgz)
render() { helm template decant "$chart" --namespace decant-system "$@"; }

# same DIRECTORY VALUES...: the chart with these values makes what kustomize makes of the directories.
same() {
    local directory
    for directory in $1; do
        echo ---
        kubectl kustomize "controller/deploy$directory" 2>/dev/null
    done >"$work/kustomize.yaml"
    render --include-crds "${@:2}" >"$work/helm.yaml"
    "$python" scripts/chart/compare.py same "$work/kustomize.yaml" "$work/helm.yaml"
}
same "/"
ok "without values the chart makes what kubectl apply -k controller/deploy makes"
same "/webhook" --set webhook.enabled=true
ok "with webhook.enabled it makes what controller/deploy/webhook makes"
same "/ /admission" --set admissionPolicy.enabled=true
ok "with admissionPolicy.enabled it makes what controller/deploy/admission makes besides"
same "/namespaced" --set namespaced=true,settings.watchNamespace=team
ok "with namespaced it makes what controller/deploy/namespaced makes"
same "/ /monitoring" --set monitoring.podMonitors=true,monitoring.rules=true,monitoring.dashboard=true
ok "with everything of monitoring it makes what controller/deploy/monitoring makes besides"

render --namespace elsewhere --values scripts/chart/values.yaml >"$work/helm.yaml"
"$python" scripts/chart/compare.py values "$work/helm.yaml"
ok "every value arrives, in another namespace"

# As `kubectl apply -n` puts them into a namespace.
render --set 'networkPolicies.cloneNamespaces={a,b}' >"$work/helm.yaml"
kubectl kustomize controller/deploy/clone-policies >"$work/kustomize.yaml" 2>/dev/null
"$python" scripts/chart/compare.py policies "$work/kustomize.yaml" "$work/helm.yaml" a b
ok "each namespace of networkPolicies.cloneNamespaces gets what controller/deploy/clone-policies makes"

render --set networkPolicies.enabled=false,progressProxy=false >"$work/helm.yaml"
! grep -E 'NetworkPolicy|pods/proxy' "$work/helm.yaml" || die "the chart makes what was not wanted"
ok "policies and the right to pods/proxy can be left out"

"$python" scripts/chart/admission.py controller/deploy/admission/policies.yaml controller/tests/golden
ok "the admission policies take what the controller makes, and nothing else"

# refused VALUE WORD: an error that names the value.
refused() {
    if render --set "$1" >/dev/null 2>"$work/error"; then
        die "$1 was not refused"
    fi
    grep -q "$2" "$work/error" || die "$1: $(<"$work/error")"
}
refused settings.maxClones=0 /settings/maxClones
refused settings.maxClone=3 maxClone
refused settings.filesystemOverhead=1.5 /settings/filesystemOverhead
refused settings.logLevel=loud /settings/logLevel
refused settings.podAnnotations.inject=false /settings/podAnnotations
refused images.pullPolicy=Sometimes /images/pullPolicy
refused controller.replicas=0 /controller/replicas
refused webhook.on=true "'on'"
refused namespaced=true settings.watchNamespace
refused namespaced=true,settings.watchNamespace=team,webhook.enabled=true "exclude each other"
refused networkPolicies.cloneNamespaces=team /networkPolicies/cloneNamespaces
ok "values that cannot be are refused by name"

[[ ${DECANT_API_KUBECONFIG-} ]] || exit 0
installed=chart-$$
helm install decant "$chart" --namespace "$installed" --create-namespace >/dev/null
kubectl -n "$installed" get deployment/decant-controller configmap/decant-controller >/dev/null
helm upgrade decant "$chart" --namespace "$installed" --set settings.maxClones=3,webhook.enabled=true >/dev/null
[[ $(kubectl -n "$installed" get configmap decant-controller -o 'jsonpath={.data.DECANT_MAX_CLONES}') = 3 ]]
kubectl -n "$installed" get deployment/decant-webhook >/dev/null
kubectl get validatingwebhookconfiguration cdi-api-datavolume-validate >/dev/null
helm uninstall decant --namespace "$installed" >/dev/null
kubectl get crd datavolumes.cdi.kubevirt.io >/dev/null
if kubectl get clusterrole decant-controller >/dev/null 2>&1; then
    die "the role is left"
fi
ok "it is installed, upgraded and removed on a cluster, and DataVolumes stay"
