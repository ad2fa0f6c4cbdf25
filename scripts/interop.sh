#!/usr/bin/env bash
# Tests the cloner against independent programs, which share no code with it and know only the formats.
#
#   scripts/interop.sh                 builds the cloner and runs all tests
#   CLONER=FILE scripts/interop.sh     tests this binary
#
# curl uploads archives and disks, made with GNU tar and cramjam, to a target. A recorder in Python receives what a source sends;
# cramjam, GNU tar and bsdtar read it. openssl finds out which TLS versions both servers accept. promtool reads the metrics page.
# All connections use the loopback address, all files are in a temporary directory.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh
# shellcheck source=scripts/lib/setup.sh
. scripts/lib/setup.sh
# shellcheck source=scripts/lib/build.sh
. scripts/lib/build.sh
help_if_asked "$@"

if [[ -z ${CLONER-} ]]; then
    build_debug
    CLONER=$debug/cloner
fi
python=$(venv_directory)/bin/python
[[ -x $python ]] || die "no Python with cramjam; scripts/test.sh setup installs it"

make_work_directory

certificates=$work/certificates
make_certificates "$certificates"

# upload FILE TYPE: posts FILE to the target in chunks of unknown total length, and prints the status.
upload() {
    curl --silent --show-error --max-time 60 --noproxy '*' --output "$work/answer" --write-out '%{http_code}' \
        --cacert "$certificates/server-ca.crt" --cert "$certificates/client.crt" --key "$certificates/client.key" \
        --header "x-cdi-content-type: $2" --header 'Transfer-Encoding: chunked' --request POST \
        --upload-file - "https://localhost:$port/v1beta1/upload" <"$1"
}

expect() {
    [[ $1 == "$2" ]] || {
        echo "expected $2, got $1" >&2
        cat "$work"/*.log "$work/answer" >&2 2>/dev/null || true
        return 1
    }
}

ok() { echo "ok   $*"; }

# A tree with everything that a copy could lose.
tree=$work/tree
mkdir -p "$tree/directory/deep"
seq 20000 >"$tree/directory/numbers"
ln "$tree/directory/numbers" "$tree/hard"
ln -s directory/numbers "$tree/soft"
mkfifo "$tree/pipe"
touch "$tree/empty" "$tree/$(printf 'n%.0s' {1..150})"
truncate -s 40M "$tree/holes"
printf end | dd of="$tree/holes" bs=1M seek=30 conv=notrunc status=none
touch -d @1700000000 "$tree/directory/deep" "$tree/empty"
chmod 4750 "$tree/empty"

# A raw disk: text, noise, zeros, and a size that is not a multiple of any block size.
disk=$work/disk
{
    seq 300000
    head -c 3000000 /dev/urandom
    head -c 5000000 /dev/zero
    head -c 1234 /dev/urandom
} >"$disk"

test_target_with_curl() {
    "$python" scripts/interop/frames.py pack <"$disk" >"$work/disk.sz"
    start_target "$work/block"
    expect "$(upload "$work/disk.sz" blockdevice-clone)" 200
    wait "$pid"
    cmp "$disk" "$work/block/disk.img"
    ok "curl and cramjam upload a disk"

    local format
    for format in gnu pax; do
        tar -C "$tree" --sparse --format="$format" -cf "$work/tree.tar" .
        "$python" scripts/interop/frames.py pack <"$work/tree.tar" >"$work/tree.sz"
        start_target "$work/$format"
        expect "$(upload "$work/tree.sz" filesystem-clone)" 200
        wait "$pid"
        tar -C "$work/$format" --compare -f "$work/tree.tar"
        ok "curl, cramjam and GNU tar ($format format) upload a tree"
    done

    # A stream that is damaged in the middle must not be reported as a success.
    head -c 200000 "$work/disk.sz" >"$work/cut.sz"
    printf 'XXXXXXXX' >>"$work/cut.sz"
    start_target "$work/damaged"
    expect "$(upload "$work/cut.sz" blockdevice-clone)" 500
    kill "$pid"
    wait "$pid" || true
    ok "curl gets an error for a damaged stream"
}

# record ARGUMENT...: runs a source against the recorder. The body goes to `body`, its decompressed content to `content`.
record() {
    : >"$work/listener.out"
    "$python" scripts/interop/listener.py "$certificates" "$work/body" "$work/head" \
        >"$work/listener.out" 2>"$work/listener.log" &
    local listener=$! listener_port
    running+=("$listener")
    listener_port=$(port_in "$work/listener.out" "listening on" "$listener")
    start_source "$listener_port" "$@"
    wait "$pid" || {
        cat "$work/source.log" "$work/listener.log" >&2
        return 1
    }
    wait "$listener"
    "$python" scripts/interop/frames.py unpack <"$work/body" >"$work/content"
}

test_source_with_recorder() {
    record --content-type blockdevice-clone --mount "$disk"
    cmp "$disk" "$work/content"
    expect "$(sed -n 's/^x-cdi-content-type: //p' "$work/head" | tr -d '\r')" blockdevice-clone
    ok "Python and cramjam read a disk"

    record --content-type filesystem-clone --mount "$tree"
    tar -C "$tree" --compare -f "$work/content"
    # The two programs print names differently; only the number of members is compared.
    expect "$(bsdtar -tf "$work/content" | grep -c .)" "$(tar -tf "$work/content" | grep -c .)"
    local reader
    for reader in tar bsdtar; do
        mkdir "$work/by-$reader"
        "$reader" -C "$work/by-$reader" -xpf "$work/content"
        rm "$work/by-$reader/pipe"
        diff -r --no-dereference --exclude pipe "$tree" "$work/by-$reader"
        ok "Python, cramjam and $reader read a tree"
    done
}

# accepts PORT VERSION: true if a handshake with that version succeeds.
accepts() {
    # At a higher security level openssl itself would refuse to offer old versions.
    openssl s_client -connect "127.0.0.1:$1" "-$2" -cipher DEFAULT@SECLEVEL=0 -CAfile "$certificates/server-ca.crt" \
        -cert "$certificates/client.crt" -key "$certificates/client.key" </dev/null >"$work/s_client" 2>&1
    # A refused handshake reports no cipher.
    grep -qE '^New, TLSv1.[23]?.*Cipher is [^(]' "$work/s_client"
}

# check_tls_versions PORT NAME: fails unless the server accepts exactly TLS 1.2 and 1.3.
check_tls_versions() {
    local version
    for version in tls1_2 tls1_3; do
        accepts "$1" $version || { cat "$work/s_client" >&2 && return 1; }
    done
    for version in tls1 tls1_1; do
        if accepts "$1" $version; then
            echo "the $2 accepts $version" >&2
            return 1
        fi
    done
    ok "the $2 accepts TLS 1.2 and 1.3 and no older version"
}

test_tls_versions_and_metrics() {
    start_target "$work/idle"
    check_tls_versions "$port" target
    kill "$pid"
    wait "$pid" || true

    # A source whose target does not answer yet keeps serving its metrics page.
    start_source "$(free_port)" --content-type blockdevice-clone --mount "$disk"
    local metrics_port
    metrics_port=$(port_in "$work/source.log" "metrics on" "$pid")
    check_tls_versions "$metrics_port" source
    curl --silent --show-error --fail --insecure --noproxy '*' "https://127.0.0.1:$metrics_port/metrics" >"$work/page"
    # promtool's only complaint is about a label name, which CDI chose.
    promtool check metrics <"$work/page" >"$work/lint" 2>&1 || true
    if grep -vE "^(kubevirt_cdi_clone_progress_total|clone_progress) label names .* not 'camelCase'$" "$work/lint"; then
        return 1
    fi
    ok "promtool reads the metrics page"
    kill "$pid"
    wait "$pid" || true

    # Shows that this openssl can detect an old version, with a server of its own that accepts one.
    local old_port
    old_port=$(free_port)
    openssl s_server -accept "127.0.0.1:$old_port" -tls1_1 -cipher DEFAULT@SECLEVEL=0 -cert "$certificates/server.crt" \
        -key "$certificates/server.key" -quiet >"$work/s_server" 2>&1 </dev/null &
    local old=$!
    running+=("$old")
    wait_for_port "$old_port" "$old"
    openssl s_client -connect "127.0.0.1:$old_port" -tls1_1 -cipher DEFAULT@SECLEVEL=0 </dev/null >"$work/s_client" 2>&1 || true
    grep -q 'Cipher is ECDHE' "$work/s_client" && ok "openssl can detect TLS 1.1" ||
        echo "note this openssl does not support TLS 1.1: it was not tested that the cloner refuses it"
    kill "$old" 2>/dev/null || true
}

test_target_with_curl
test_source_with_recorder
test_tls_versions_and_metrics
