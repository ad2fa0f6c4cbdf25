#!/usr/bin/env bash
# Runs a real Kubernetes with one node on this machine, from Debian packages alone or with the programs of a release. As root,
# on Debian 12.
#
#   scripts/cluster.sh setup            installs the packages and builds Kubernetes (once, about 8 minutes)
#   scripts/cluster.sh up               starts everything; prints the path of the kubeconfig
#   scripts/cluster.sh env              shell commands that select this cluster: eval "$(scripts/cluster.sh env)"
#   scripts/cluster.sh down             stops everything that `up` started and removes its files
#   scripts/cluster.sh status           shows what runs; exits with 0 if the node is ready
#   scripts/cluster.sh images           builds both images and loads them (scripts/image.sh)
#   scripts/cluster.sh volume add block|filesystem SIZE CLASS NAME...
#   scripts/cluster.sh volume remove NAME...
#   scripts/cluster.sh provisioner up|down      builds and starts the dynamic provisioner of the tests; `down` also removes
#                                       its volumes and classes
#   scripts/cluster.sh api up|down      an API server alone, next to the cluster or without one: it stores objects, and
#                                       no controller acts on them; `up` prints the path of its kubeconfig
#   scripts/cluster.sh restart-api [SECONDS]    stops the API server, waits, starts it again
#
# Option of `setup`, `up` and `api up`:
#   --kubernetes DIR      runs the programs of this directory instead of building 1.20: kube-apiserver, kube-controller-manager,
#                         kube-scheduler, kubelet, kube-proxy and kubectl, such as an unpacked kubernetes-server-linux-amd64.tar.gz of
#                         1.20 or later. If it also has etcd, or containerd with its shim and ctr, or runc, these are used;
#                         1.34 and later need an etcd that Debian 12 does not have
#
# Storage classes: decant-now (Immediate, the default) and decant-wait (WaitForFirstConsumer). `up` creates four
# volumes of 256Mi of each mode in decant-now. `provisioner up` adds classes whose claims get a volume of their own, on a loop
# device, in both volume modes:
#   provisioned-now    Immediate; a CSIDriver object exists; claims with a data source are ignored, as CSI drivers do
#   provisioned-wait   the same, WaitForFirstConsumer
#   provisioned-path   WaitForFirstConsumer; no CSIDriver object; data sources are ignored, as local-path of k3s does
#   provisioned-never  its provisioner does not run
# Annotations of a claim, or parameters of a class without the prefix, ask for trouble:
#   provisioner.test.decant.dev/delaySecs: "2"      the volume is made after 2 seconds
#   provisioner.test.decant.dev/refuse: MESSAGE     no volume, but an event ProvisioningFailed with this message
#
# Environment: DECANT_CLUSTER_DIR (/var/tmp/decant-cluster) holds all state; the programs are kept in
# ~/.cache/decant. DECANT_KUBERNETES is the default of --kubernetes. With KUBECONFIG set to another cluster, `up` starts nothing,
# and that cluster is used.
set -euo pipefail
invoked_in=$PWD
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/lib/oci.sh
. scripts/lib/oci.sh
# shellcheck source=scripts/lib/build.sh
. scripts/lib/build.sh
for part in build versions certificates processes node volumes provisioner; do
    # shellcheck source=/dev/null
    . "scripts/cluster/$part.sh"
done

arguments=()
take_kubernetes_option "$invoked_in" "$@"
set -- "${arguments[@]}"

CLUSTER=${DECANT_CLUSTER_DIR:-/var/tmp/decant-cluster}
# For scripts/cluster/*.sh.
export API_PORT ETCD_PORT API_FLAGS NODE=node1 NODE_IP=10.244.0.1 SERVICE_IP=10.96.0.1 BRIDGE=decant0
API_PORT=6443 ETCD_PORT=2379 API_FLAGS=()
if [[ ${1-} = api ]]; then
    CLUSTER+=-api API_PORT=6543 ETCD_PORT=2479
    # No controller creates service accounts there, and no client uses the address of its Service.
    API_FLAGS=(--disable-admission-plugins=ServiceAccount --endpoint-reconciler-type=none)
fi
ADMIN=$CLUSTER/pki/admin.kubeconfig
select_programs
PACKAGES=(
    etcd:etcd-server containerd:containerd runc:runc iptables:iptables ip:iproute2 conntrack:conntrack
    buildah:buildah mkfs.ext4:e2fsprogs curl:curl openssl:openssl cc:build-essential
)
BUILD_PACKAGES=(go:golang-go dpkg-source:dpkg-dev)
# Modules of Debian's packages belong to this Python, which need not be the one in PATH.
export DEBIAN_PYTHON=/usr/bin/python3
PROGRAMS=(proxy kubelet scheduler controller-manager apiserver etcd)

kube() { "$BIN/kubectl" --kubeconfig "$ADMIN" "$@"; }

install_cluster() {
    local packages=()
    is_built || check_programs
    add_missing "${PACKAGES[@]}"
    ! is_built || add_missing "${BUILD_PACKAGES[@]}"
    [[ -x /usr/lib/cni/bridge ]] || packages+=(containernetworking-plugins)
    has_static_busybox || packages+=(busybox-static)
    ! is_built || "$DEBIAN_PYTHON" -c 'import grpc' 2>/dev/null || packages+=(python3-grpcio)
    # The packages of etcd and containerd start services.
    if [[ ${#packages[@]} -gt 0 ]]; then
        echo "installing ${packages[*]}"
        install_packages "${packages[@]}"
        stop_services etcd containerd
    fi
    if is_built; then
        build_kubernetes
        check_programs
    fi
}

stop_services() {
    local service
    for service in "$@"; do
        if [[ -d /run/systemd/system ]]; then
            systemctl disable --now --quiet "$service.service" 2>/dev/null || true
        else
            service "$service" stop >/dev/null 2>&1 || true
        fi
    done
}

up() {
    if [[ ${KUBECONFIG-} && $KUBECONFIG != "$ADMIN" ]]; then
        echo "KUBECONFIG is set: using the cluster of $KUBECONFIG"
        return
    fi
    if [[ -d $CLUSTER ]]; then
        status >/dev/null 2>&1 || die "$CLUSTER belongs to a cluster that no longer runs; scripts/cluster.sh down removes it"
        [[ ! ${DECANT_KUBERNETES-} || $(supplied_directory "$DECANT_KUBERNETES") = "$BIN" ]] ||
            die "the cluster that runs uses the programs of $BIN; scripts/cluster.sh down stops it"
        echo "$ADMIN"
        return
    fi
    install_cluster
    check_containerd_and_etcd
    mkdir -p "$CLUSTER/run"
    record_programs
    # A cluster that starts only in part is stopped again.
    trap 'down; exit 1' ERR INT TERM
    start_network
    make_pki
    start_etcd
    start_apiserver
    start_control_plane
    start_containerd
    start_kubelet
    kube apply -f scripts/cluster/classes.yaml >/dev/null
    add_volumes filesystem 256Mi decant-now files-{1..4}
    add_volumes block 256Mi decant-now blocks-{1..4}
    wait_until 60 "the default service account is there" kube get serviceaccount default
    trap - ERR INT TERM
    echo "$ADMIN"
}

down() {
    [[ -d $CLUSTER ]] || return 0
    local name path
    # Errors are ignored: some parts may not exist or may be stopped already.
    set +e
    end provisioner
    end sandboxes
    # The kubelet stops before the containers, so that it does not restart them.
    end kubelet
    end_containers
    for name in "${PROGRAMS[@]}" containerd; do
        end "$name"
    done
    # The deepest mount points first: volumes of pods, root directories of containers, shared memory, namespaces.
    awk -v root="$CLUSTER/" 'index($5, root) == 1 {print $5}' /proc/self/mountinfo | sort -r |
        while read -r path; do
            umount "$path" 2>/dev/null || umount -l "$path" 2>/dev/null || true
        done
    end_volumes
    end_network
    set -e
    rm -rf "$CLUSTER"
}

status() {
    local name
    [[ -d $CLUSTER ]] || {
        echo "down"
        return 1
    }
    for name in "${PROGRAMS[@]}" containerd provisioner; do
        if runs "$name"; then echo "$name runs"; else echo "$name does not run"; fi
    done
    echo "KUBECONFIG=$ADMIN"
    echo "Kubernetes $(cat "$CLUSTER/version" 2>/dev/null) of $BIN"
    node_is_ready || {
        echo "node $NODE is not ready"
        return 1
    }
    echo "node $NODE is ready"
}

load_images() {
    local image
    scripts/image.sh
    for image in target/images/{cloner,controller}.tar; do
        ctr_here images import "$image" >/dev/null
    done
}

volume() {
    local what=${1-} name
    case $what in
        add)
            [[ $# -ge 5 ]] || die "usage: cluster.sh volume add block|filesystem SIZE CLASS NAME..."
            [[ $2 = block || $2 = filesystem ]] || die "unknown volume mode $2: use block or filesystem"
            add_volumes "${@:2}"
            ;;
        remove)
            for name in "${@:2}"; do
                remove_volume "$name"
            done
            ;;
        *) die "unknown command volume $what: use add or remove" ;;
    esac
}

restart_api() {
    end apiserver
    sleep "${1:-0}"
    start_apiserver
}

api() {
    case ${1-} in
        up)
            if [[ -d $CLUSTER ]]; then
                api down
                select_programs
            fi
            install_cluster
            mkdir -p "$CLUSTER/run"
            record_programs
            trap 'api down; exit 1' ERR INT TERM
            make_pki
            start_etcd
            start_apiserver
            trap - ERR INT TERM
            echo "$ADMIN"
            ;;
        down)
            end apiserver
            end etcd
            rm -rf "$CLUSTER"
            ;;
        *) die "unknown command api ${1-}: use up or down" ;;
    esac
}

case ${1-} in
    -h | --help | '') show_help ;;
    setup)
        install_cluster
        check_containerd_and_etcd
        ;;
    up) up ;;
    env) echo "export KUBECONFIG=$ADMIN PATH=\$PATH:$BIN" ;;
    down) down ;;
    status) status ;;
    images) load_images ;;
    api) api "${2-}" ;;
    provisioner) provisioner "${2-}" ;;
    volume) volume "${@:2}" ;;
    restart-api) restart_api "${2-}" ;;
    *) die "unknown command $1; see --help" ;;
esac
