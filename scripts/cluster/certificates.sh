# shellcheck shell=bash
# Sourced by scripts/cluster.sh: the certificates and kubeconfigs of the cluster, in $CLUSTER/pki.

# make_pki: one authority for everything, because it exists only as long as the cluster.
make_pki() (
    mkdir -p "$CLUSTER/pki"
    cd "$CLUSTER/pki" || exit
    umask 077
    quiet openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=decant-test-cluster -keyout ca.key -out ca.crt
    quiet openssl genrsa -out service-accounts.key 2048
    local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost
    issue apiserver /CN=kube-apiserver "$names,IP:127.0.0.1,IP:$NODE_IP,IP:$SERVICE_IP"
    issue kubelet-server "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$NODE_IP"
    local name
    for name in admin controller-manager scheduler proxy kubelet; do
        make_kubeconfig "$name"
    done
)

# make_kubeconfig NAME
make_kubeconfig() {
    local name=$1 group='' user=system:kube-$1
    case $name in
        admin) group=system:masters user=admin ;;
        kubelet) group=system:nodes user=system:node:$NODE ;;
    esac
    issue "$name" "${group:+/O=$group}/CN=$user" DNS:unused
    cat >"$name.kubeconfig" <<EOF
apiVersion: v1
kind: Config
current-context: decant
clusters:
- name: decant
  cluster: {server: "https://127.0.0.1:$API_PORT", certificate-authority-data: $(base64 -w0 <ca.crt)}
contexts:
- name: decant
  context: {cluster: decant, user: $name}
users:
- name: $name
  user: {client-certificate-data: $(base64 -w0 <"$name.crt"), client-key-data: $(base64 -w0 <"$name.key")}
EOF
}

# issue NAME SUBJECT NAMES
issue() {
    quiet openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" >"$1.ext"
    quiet openssl x509 -req -days 30 -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}

quiet() {
    local output
    output=$("$@" 2>&1) || {
        echo "$output" >&2
        return 1
    }
}
