#!/usr/bin/env bash
# Compares the Helm chart with the kustomize base: both render the same objects, values take effect, wrong values are
# refused.
#
#   scripts/chart.sh      needs no network; uses the helm and kubectl that scripts/test.sh setup fetched
#
# With DECANT_API_KUBECONFIG, the kubeconfig of a cluster without Decant, the chart is also installed there, upgraded and
# removed (its CustomResourceDefinitions must stay).
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

# Ignores the settings of this machine's Helm. Helm warns about every symbolic link; these warnings are dropped.
export HELM_CONFIG_HOME=$work HELM_CACHE_HOME=$work HELM_DATA_HOME=$work
helm() {
    local status=0
    KUBECONFIG=${DECANT_API_KUBECONFIG-} "$tools/helm" "$@" 2>"$work/stderr" || status=$?
    grep -v 'found symbolic link' "$work/stderr" >&2 || true
    return "$status"
}
kubectl() { KUBECONFIG=${DECANT_API_KUBECONFIG-} "$tools/kubectl" "$@"; }
ok() { echo "ok   $*"; }

helm lint --strict --quiet controller/deploy/chart
# The tests use the packaged chart, as users do. In the package the symbolic links are files.
helm package --destination "$work" controller/deploy/chart >/dev/null
chart=$(echo "$work"/decant-*.tgz)
render() { helm template decant "$chart" --namespace decant-system "$@"; }

crds=(--include-crds)
# same DIRECTORY VALUES...: the chart with these values renders the same as kustomize for the directories.
same() {
    local directory
    for directory in $1; do
        echo ---
        kubectl kustomize "controller/deploy$directory" 2>/dev/null
    done >"$work/kustomize.yaml"
    render "${crds[@]}" "${@:2}" >"$work/helm.yaml"
    "$python" scripts/chart/compare.py same "$work/kustomize.yaml" "$work/helm.yaml"
}
same "/"
ok "without values the chart renders the same as controller/deploy"
same "/webhook" --set webhook.enabled=true
ok "with webhook.enabled it renders the same as controller/deploy/webhook"
same "/ /admission" --set admissionPolicy.enabled=true
ok "with admissionPolicy.enabled it also renders controller/deploy/admission"
same "/namespaced" --set namespaced=true,settings.watchNamespace=team
ok "with namespaced it renders the same as controller/deploy/namespaced"
crds=()
same "/beside-cdi" --set settings.besideCdi=true
! grep -E '^ *name: .*cdi\.kubevirt\.io' "$work/helm.yaml" || die "beside CDI the chart renders an object of CDI"
ok "with settings.besideCdi it renders the same as controller/deploy/beside-cdi, without an object of CDI"
crds=(--include-crds)
same "/ /monitoring" --set monitoring.podMonitors=true,monitoring.rules=true,monitoring.dashboard=true
ok "with all values of monitoring it also renders controller/deploy/monitoring"

render --namespace elsewhere --values scripts/chart/values.yaml >"$work/helm.yaml"
"$python" scripts/chart/compare.py values "$work/helm.yaml"
ok "every value takes effect, in another namespace"

# As if applied with `kubectl apply -n`.
render --set 'networkPolicies.cloneNamespaces={a,b}' >"$work/helm.yaml"
kubectl kustomize controller/deploy/clone-policies >"$work/kustomize.yaml" 2>/dev/null
"$python" scripts/chart/compare.py policies "$work/kustomize.yaml" "$work/helm.yaml" a b
ok "each namespace of networkPolicies.cloneNamespaces gets the policies of controller/deploy/clone-policies"

render --set networkPolicies.enabled=false,progressProxy=false >"$work/helm.yaml"
! grep -E 'NetworkPolicy|pods/proxy' "$work/helm.yaml" || die "the chart renders objects that were switched off"
ok "the policies and the right to pods/proxy can be switched off"

"$python" scripts/chart/admission.py controller/deploy/admission/policies.yaml controller/tests/golden
ok "the admission policies accept the objects of the controller, and no others"

# refused VALUE TEXT: fails unless the chart refuses the value with an error that contains TEXT.
refused() {
    if render --set "$1" >/dev/null 2>"$work/error"; then
        die "$1 was not refused"
    fi
    grep -q "$2" "$work/error" || die "$1 was refused with the wrong error: $(<"$work/error")"
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
refused settings.besideCdi=true,webhook.enabled=true /webhook/enabled
refused networkPolicies.cloneNamespaces=team /networkPolicies/cloneNamespaces
ok "wrong values are refused, and the error names the value"

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
    die "the role was not removed"
fi
ok "it is installed, upgraded and removed on a cluster, and the CustomResourceDefinitions stay"
