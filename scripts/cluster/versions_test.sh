#!/usr/bin/env bash
# Tests scripts/cluster/versions.sh: the flags of several versions of Kubernetes, and the errors about unusable programs.
#
#   scripts/cluster/versions_test.sh      needs no root and starts nothing
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/cluster/build.sh
. scripts/cluster/build.sh
# shellcheck source=scripts/cluster/versions.sh
. scripts/cluster/versions.sh
help_if_asked "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Read by versions.sh.
export CLUSTER=$work/cluster BIN
mkdir "$CLUSTER"
unset DECANT_KUBERNETES
ok() { echo "ok   $*"; }

# equal WHAT GOT WANTED
equal() { [[ $2 = "$3" ]] || die "$1: got \"$2\", expected \"$3\""; }

# release DIRECTORY VERSION: fake programs.
release() {
    local program
    mkdir -p "$1"
    for program in "${KUBERNETES_PROGRAMS[@]}"; do
        printf '#!/bin/sh\necho Kubernetes v%s\n' "$2" >"$1/$program"
        chmod +x "$1/$program"
    done
}

# refused TEXT COMMAND...: fails unless the command fails with an error that contains TEXT.
refused() {
    local text=$1 error
    shift
    if error=$("$@" 2>&1 >/dev/null); then die "$* succeeds, and should say: $text"; fi
    [[ $error = *"$text"* ]] || die "$* fails with \"$error\", and should say: $text"
}

# for_version VERSION COMMAND...
for_version() { CLUSTER_VERSION=$1 "${@:2}"; }
cgroup_version() { echo "$host_cgroup"; }

equal "API server of 1.20" "$(for_version 1.20.2 flags_of APISERVER_FLAGS)" --feature-gates=AnyVolumeDataSource=true
equal "API server of 1.24" "$(for_version 1.24.0 flags_of APISERVER_FLAGS)" ''
equal "kubelet of 1.23" "$(for_version 1.23.9 flags_of KUBELET_FLAGS)" --container-runtime=remote
equal "kubelet of 1.36" "$(for_version 1.36.2 flags_of KUBELET_FLAGS)" ''
host_cgroup=v1
equal "settings of 1.30, cgroup v1" "$(for_version 1.30.0 kubelet_settings)" ''
equal "settings of 1.36, cgroup v1" "$(for_version 1.36.2 kubelet_settings)" 'failCgroupV1: false'
host_cgroup=v2
equal "settings of 1.36, cgroup v2" "$(for_version 1.36.2 kubelet_settings)" ''
ok "flags and settings follow the version and the cgroups"

release "$work/release/kubernetes/server/bin" 1.36.2
for directory in "$work"/release{,/kubernetes,/kubernetes/server/bin}; do
    equal "programs in $directory" "$(supplied_directory "$directory")" "$work/release/kubernetes/server/bin"
done
equal "programs without a directory" "$(programs_directory)" "$(kubernetes_directory)"
equal "programs of the environment" "$(DECANT_KUBERNETES=$work/release programs_directory)" "$work/release/kubernetes/server/bin"
arguments=()
take_kubernetes_option "$work" up --kubernetes release/kubernetes more
equal "the option, relative" "$DECANT_KUBERNETES ${arguments[*]}" "$work/release/kubernetes up more"
BIN=$(programs_directory)
check_programs
equal "the version" "$CLUSTER_VERSION $(minor)" "1.36.2 36"
record_programs
unset DECANT_KUBERNETES CLUSTER_VERSION
equal "programs of the cluster that runs" "$(programs_directory) $(minor)" "$BIN 36"
ok "the programs of a release are found, and remembered"

refused "no such directory" supplied_directory "$work/nowhere"
refused "no kube-apiserver in it" supplied_directory "$work"
refused "--kubernetes needs a directory" take_kubernetes_option "$work" up --kubernetes
BIN=$work/bad
release "$BIN" 1.19.16
refused "Kubernetes 1.19.16 is not supported: use 1.20 or later" check_programs
release "$BIN" 1.99.0-rc.1
equal "a version that is too new" "$(check_programs 2>&1)" \
    "versions_test.sh: Kubernetes 1.99.0 is newer than 1.$NEWEST_KNOWN_MINOR, the newest version that this script knows"
release "$BIN" 1.36.2
printf '#!/bin/sh\necho Kubernetes v1.35.0\n' >"$BIN/kubelet"
refused "contains kube-apiserver 1.36.2 and kubelet 1.35.0" check_programs
printf '#!/bin/sh\necho something else\n' >"$BIN/kubelet"
refused "$BIN/kubelet --version prints no version" check_programs
printf '#!/bin/sh\necho wrong machine >&2; exit 126\n' >"$BIN/kubelet"
refused "$BIN/kubelet does not run: wrong machine" check_programs
chmod -x "$BIN/kubelet"
refused "$BIN/kubelet is not executable" check_programs
rm "$BIN/kubelet"
refused "no kubelet in $BIN" check_programs
ok "unusable programs are refused, and the error names them"

containerd() { echo "containerd example.com/containerd $containerd 0123abc"; }
etcd() { printf 'etcd Version: %s\nGit SHA: 0123abc\nGo Version: go1.26.4\n' "$etcd"; }
etcd=3.5.30
for row in 1.20.2:1.6.20:works 1.20.2:2.1.0:refused 1.25.0:2.1.0:works 1.36.2:1.6.20:works 1.36.2:1.5.9:refused \
    1.37.0:1.7.24:refused 1.37.0:2.1.0:works; do
    IFS=: read -r CLUSTER_VERSION containerd expected <<<"$row"
    result=works
    (check_containerd_and_etcd) 2>/dev/null || result=refused
    equal "Kubernetes $CLUSTER_VERSION with containerd $containerd" "$result" "$expected"
done
CLUSTER_VERSION=1.37.0 containerd=1.7.24
refused "Kubernetes 1.37.0 needs containerd 2.0 or later, and " check_containerd_and_etcd
ok "containerd has to fit the kubelet"

containerd=1.7.24 CLUSTER_VERSION=1.33.0 etcd=3.4.23
check_containerd_and_etcd
CLUSTER_VERSION=1.36.2
refused "Kubernetes 1.36.2 needs etcd 3.5.13 or later, and " check_containerd_and_etcd
etcd=3.5.13
check_containerd_and_etcd
ok "etcd has to fit the API server"
