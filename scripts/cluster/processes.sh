# shellcheck shell=bash
# Sourced by scripts/cluster.sh: starts and stops the programs. Each has a pid file and a log.

# start NAME COMMAND...: starts a program in the background and writes its pid file.
start() {
    local name=$1
    shift
    mkdir -p "$CLUSTER/run" "$CLUSTER/log"
    # In its own session, so that Ctrl-C at the terminal does not end it.
    setsid "$@" >"$CLUSTER/log/$name.log" 2>&1 </dev/null &
    echo $! >"$CLUSTER/run/$name.pid"
    # Pids are reused: the start time tells whether a pid still belongs to the program.
    sleep 0.1
    pid_start_time $! >"$CLUSTER/run/$name.since" || true
}

pid_start_time() { awk '{print $22}' "/proc/$1/stat" 2>/dev/null; }

# runs NAME: true if the program that `start` started still runs.
runs() {
    local file=$CLUSTER/run/$1
    [[ -f $file.pid ]] && [[ -n $(<"$file.since") ]] && [[ $(pid_start_time "$(<"$file.pid")") = "$(<"$file.since")" ]]
}

# end NAME: sends SIGTERM, and SIGKILL after 15 seconds.
end() {
    local pid
    if runs "$1"; then
        pid=$(<"$CLUSTER/run/$1.pid")
        kill "$pid" 2>/dev/null || true
        for _ in {1..150}; do
            runs "$1" || break
            sleep 0.1
        done
        ! runs "$1" || kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$CLUSTER/run/$1".{pid,since}
}

# wait_until SECONDS WHAT COMMAND...: waits until the command succeeds; fails after SECONDS.
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [[ $SECONDS -ge $deadline ]]; then
            echo "timed out waiting until $what; see $CLUSTER/log" >&2
            return 1
        fi
        sleep 0.3
    done
}

start_etcd() {
    local clients=http://127.0.0.1:$ETCD_PORT peers=http://127.0.0.1:$((ETCD_PORT + 1))
    start etcd etcd --name decant --data-dir "$CLUSTER/etcd" --unsafe-no-fsync \
        --listen-client-urls "$clients" --advertise-client-urls "$clients" \
        --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "decant=$peers"
    wait_until 30 "etcd answers" curl -fs --noproxy '*' "$clients/health"
}

start_apiserver() {
    local pki=$CLUSTER/pki flags=()
    mapfile -t flags < <(flags_of APISERVER_FLAGS)
    start apiserver "$BIN/kube-apiserver" --etcd-servers="http://127.0.0.1:$ETCD_PORT" --bind-address=0.0.0.0 \
        --secure-port="$API_PORT" --advertise-address="$NODE_IP" --service-cluster-ip-range=10.96.0.0/16 \
        --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" \
        --tls-private-key-file="$pki/apiserver.key" --authorization-mode=Node,RBAC --allow-privileged \
        --kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/admin.crt" \
        --kubelet-client-key="$pki/admin.key" --kubelet-preferred-address-types=InternalIP \
        --service-account-key-file="$pki/service-accounts.key" --cert-dir="$CLUSTER/run" \
        --service-account-signing-key-file="$pki/service-accounts.key" \
        --service-account-issuer=https://kubernetes.default.svc "${flags[@]}" "${API_FLAGS[@]}"
    wait_until 60 "the API server is ready" kube get --raw /readyz
}

start_control_plane() {
    local pki=$CLUSTER/pki
    start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$pki/controller-manager.kubeconfig" \
        --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt" \
        --use-service-account-credentials --leader-elect=false --cert-dir="$CLUSTER/run"
    start scheduler "$BIN/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false \
        --cert-dir="$CLUSTER/run"
}
