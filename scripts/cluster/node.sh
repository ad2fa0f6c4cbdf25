# shellcheck shell=bash
# Sourced by scripts/cluster.sh: the one node: network, containerd, kubelet, kube-proxy.

PAUSE_IMAGE=localhost/decant-pause:1

# The bridge comes first, because its address is the address of the node.
start_network() {
    cat /proc/sys/net/ipv4/ip_forward >"$CLUSTER/run/ip_forward"
    ip link add "$BRIDGE" type bridge
    ip address add "$NODE_IP/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    mkdir -p "$CLUSTER/cni"
    cat >"$CLUSTER/cni/10-decant.conf" <<EOF
{"cniVersion": "0.4.0", "name": "decant", "type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": true,
 "hairpinMode": true,
 "ipam": {"type": "host-local", "dataDir": "$CLUSTER/ipam", "ranges": [[{"subnet": "10.244.0.0/24"}]],
          "routes": [{"dst": "0.0.0.0/0"}]}}
EOF
}

end_network() {
    local link
    for link in $(ip -o link show master "$BRIDGE" 2>/dev/null | sed 's/^[0-9]*: \([^@:]*\).*/\1/'); do
        ip link delete "$link" || true
    done
    ip link delete "$BRIDGE" 2>/dev/null || true
    local table chain
    for table in nat filter mangle; do
        iptables-save -t "$table" 2>/dev/null | grep -E '^-A .*(KUBE-|CNI-|cali)' | sed 's/^-A/-D/' |
            while read -r rule; do
                eval "iptables -w -t $table $rule" 2>/dev/null || true
            done
        for chain in $(iptables-save -t "$table" 2>/dev/null | sed -n 's/^:\(KUBE-[^ ]*\|CNI-[^ ]*\) .*/\1/p'); do
            iptables -w -t "$table" -F "$chain" 2>/dev/null || true
        done
        for chain in $(iptables-save -t "$table" 2>/dev/null | sed -n 's/^:\(KUBE-[^ ]*\|CNI-[^ ]*\) .*/\1/p'); do
            iptables -w -t "$table" -X "$chain" 2>/dev/null || true
        done
    done
    [[ ! -f $CLUSTER/run/ip_forward ]] || cat "$CLUSTER/run/ip_forward" >/proc/sys/net/ipv4/ip_forward
}

start_containerd() {
    cat >"$CLUSTER/containerd.toml" <<EOF
version = 2
root = "$CLUSTER/containerd"
state = "$CLUSTER/run/containerd"
[grpc]
  address = "$CLUSTER/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  # Inside a container the score cannot be lowered, and then no pod would start.
  restrict_oom_score_adj = true
  # For block volumes of pods that do not run as root.
  device_ownership_from_security_context = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$CLUSTER/cni"
EOF
    start containerd containerd --config "$CLUSTER/containerd.toml"
    wait_until 30 "containerd answers" ctr_here version
    make_pause_image
}

ctr_here() { ctr --address "$CLUSTER/run/containerd.sock" --namespace k8s.io "$@"; }

# The first container of every pod: it holds the network namespace and waits.
make_pause_image() {
    local directory=$CLUSTER/pause
    mkdir -p "$directory/root"
    printf '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n' >"$directory/pause.c"
    cc -static -O2 -o "$directory/root/pause" "$directory/pause.c"
    pack_image "$PAUSE_IMAGE" "$directory/root" /pause "$directory/pause.tar"
    ctr_here images import "$directory/pause.tar" >/dev/null
}

start_kubelet() {
    local pki=$CLUSTER/pki flags=()
    mapfile -t flags < <(flags_of KUBELET_FLAGS)
    cat >"$CLUSTER/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
# The driver of containerd, unless its configuration says otherwise.
cgroupDriver: cgroupfs
failSwapOn: false
evictionHard: {}
# Images do not come from a registry: an image that is removed because the disk is nearly full is lost.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
enableControllerAttachDetach: true
volumePluginDir: $CLUSTER/kubelet/plugins-exec
# There is no DNS in this cluster.
resolvConf: ""
maxPods: 200
# A test starts 200 pods at once; the default of 5 requests per second is too low for that.
registryPullQPS: 0
kubeAPIQPS: 50
kubeAPIBurst: 100
syncFrequency: 10s
$(kubelet_settings)
EOF
    start kubelet "$BIN/kubelet" --config="$CLUSTER/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" \
        --root-dir="$CLUSTER/kubelet" --cert-dir="$CLUSTER/run" \
        --container-runtime-endpoint="unix://$CLUSTER/run/containerd.sock" --hostname-override="$NODE" \
        --node-ip="$NODE_IP" "${flags[@]}"
    start proxy "$BIN/kube-proxy" --kubeconfig="$pki/proxy.kubeconfig" --proxy-mode=iptables \
        --cluster-cidr=10.244.0.0/24 --conntrack-max-per-core=0 --hostname-override="$NODE" \
        --metrics-bind-address=127.0.0.1:10249
    wait_until 90 "node $NODE is Ready" node_is_ready
    if is_built; then
        start sandboxes "$DEBIAN_PYTHON" scripts/cluster/sandboxes.py "$CLUSTER/run/containerd.sock"
    fi
}

node_is_ready() {
    [[ $(kube get node "$NODE" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') = True ]]
}

# Containers and their shims survive containerd, so they are stopped first.
end_containers() {
    local container pid
    if runs containerd; then
        for container in $(ctr_here tasks list -q 2>/dev/null); do
            ctr_here tasks kill --signal KILL "$container" >/dev/null 2>&1 || true
        done
        sleep 1
        for container in $(ctr_here tasks list -q 2>/dev/null); do
            ctr_here tasks delete --force "$container" >/dev/null 2>&1 || true
        done
        for container in $(ctr_here containers list -q 2>/dev/null); do
            ctr_here containers delete "$container" >/dev/null 2>&1 || true
        done
    fi
    # The arguments of a shim contain the socket of its containerd. Only shims of this one are ended.
    for pid in $(pgrep -f -- "containerd-shim.*-address $CLUSTER/run/containerd.sock"); do
        kill -9 "$pid" 2>/dev/null || true
    done
}
