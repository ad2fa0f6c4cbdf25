# shellcheck shell=bash
# Sourced by scripts that run both ends of a clone on this machine.

# The name in the source's certificate, as CDI's controllers build it from two namespaces and two claims.
export CLIENT_NAME=src/pvc-tgt/pvc

# make_work_directory: sets `work` to a new directory. When the script exits, the processes in `running` are
# ended and the directory is removed.
make_work_directory() {
    work=$(mktemp -d)
    running=()
    trap end_work EXIT
    trap 'exit 130' INT TERM
}

end_work() {
    local pid
    for pid in "${running[@]}"; do
        # A leader of a process group ends with its group.
        kill -- "-$pid" 2>/dev/null || kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}

# Prints a port of the loopback address that was free a moment ago, for programs that cannot take port 0.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# make_certificates DIRECTORY: writes two temporary authorities, a server certificate and a client certificate, as PEM.
make_certificates() (
    mkdir -p "$1"
    cd "$1" || exit
    umask 077
    quietly() {
        openssl "$@" 2>openssl.log || {
            cat openssl.log >&2
            exit 1
        }
    }
    for end in server client; do
        quietly req -x509 -newkey rsa:2048 -nodes -days 2 -sha256 -subj "/CN=temporary $end authority" \
            -addext keyUsage=critical,keyCertSign,cRLSign -keyout $end-ca.key -out $end-ca.crt
    done
    # openssl takes an unescaped slash as the end of the name.
    quietly req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
    quietly req -newkey rsa:2048 -nodes -subj "/CN=${CLIENT_NAME//\//\\/}" -keyout client.key -out client.csr
    printf '%s\n' extendedKeyUsage=serverAuth subjectAltName=DNS:localhost,DNS:target.decant.svc,IP:127.0.0.1 >server.ext
    printf '%s\n' extendedKeyUsage=clientAuth >client.ext
    for end in server client; do
        printf '%s\n' basicConstraints=CA:FALSE keyUsage=critical,digitalSignature,keyEncipherment >>$end.ext
        quietly x509 -req -days 2 -sha256 -in $end.csr -CA $end-ca.crt -CAkey $end-ca.key -CAcreateserial \
            -extfile $end.ext -out $end.crt
    done
    rm -f ./*.csr ./*.ext ./*.srl openssl.log
)

# target_environment CERTIFICATES: exports the variables of a target pod, for this machine.
target_environment() {
    export TLS_CERT_FILE=$1/server.crt TLS_KEY_FILE=$1/server.key CLIENT_CERT_FILE=$1/client-ca.crt
    export LISTEN_ADDRESS=127.0.0.1
}

# source_environment CERTIFICATES PORT: exports the variables of a source pod.
source_environment() {
    CLIENT_KEY=$(<"$1/client.key") CLIENT_CERT=$(<"$1/client.crt") SERVER_CA_CERT=$(<"$1/server-ca.crt")
    export CLIENT_KEY CLIENT_CERT SERVER_CA_CERT OWNER_UID=uid UPLOAD_URL=https://localhost:$2/v1beta1/upload
}

# port_in LOG TEXT PID: waits until a program logs TEXT and an address, and prints the port of the address.
port_in() {
    local port
    for _ in {1..200}; do
        port=$(sed -n "s|.*$2 https://[^ ]*:\([0-9]\{1,5\}\).*|\1|p" "$1" | head -n 1)
        if [[ $port ]]; then
            echo "$port"
            return
        fi
        kill -0 "$3" 2>/dev/null || break
        sleep 0.05
    done
    cat "$1" >&2
    echo "no address after \"$2\" in $1, whose content is above" >&2
    return 1
}

# wait_for_port PORT PID: waits until a program listens on the port.
wait_for_port() {
    local hex
    hex=$(printf ':%04X ' "$1")
    for _ in {1..200}; do
        # 0A means "listening". Reading this file does not disturb the listener, unlike a connection.
        grep -qE "${hex}[0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6 && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.05
    done
    echo "no program listens on port $1" >&2
    return 1
}

# The two functions below run $CLONER with the certificates in $certificates; both set `pid`. The arrays target_wrapper
# and source_wrapper hold a command to run it under, if any.
target_wrapper=() source_wrapper=()

# start_target DIRECTORY: starts a target that writes to DIRECTORY. Sets `port`; the log is target.log.
start_target() {
    mkdir -p "$1"
    # Emptied here, because the background shell might open the log only after port_in has found the previous port in it.
    : >"$work/target.log"
    (
        target_environment "${certificates:?}"
        export LISTEN_PORT=0 DESTINATION=$1/disk.img
        exec "${target_wrapper[@]}" "$CLONER" target --plain-health-port 0 --termination-log "$work/none"
    ) 2>"$work/target.log" &
    pid=$!
    running+=("$pid")
    port=$(port_in "$work/target.log" "waiting for a clone on" "$pid")
}

# start_source PORT ARGUMENT...: starts a source that sends to PORT; the log is source.log.
start_source() {
    : >"$work/source.log"
    (
        source_environment "${certificates:?}" "$1"
        exec "${source_wrapper[@]}" "$CLONER" source --metrics-port 0 --termination-log "$work/none" "${@:2}"
    ) 2>"$work/source.log" &
    pid=$!
    running+=("$pid")
}
