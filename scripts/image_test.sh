#!/usr/bin/env bash
# Tests the images and their programs in an empty root directory: without shell, libc, DNS or a known user. As root.
#
#   scripts/image_test.sh      after scripts/image.sh
#
# First it checks the archives: size, user, labels, the list of crates inside each program and the SBOM next to it. Then a
# source and a target run, each in a root directory that holds the program, a volume and what a kubelet provides:
# /etc/hosts with the target's name, /dev/termination-log, the files of the Secret. The source finds the target by that
# name, the connection uses TLS, the content arrives, and both exit with 0 and a termination message.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh
help_if_asked "$@"
[[ $EUID -eq 0 ]] || die "changing the root directory needs root"

programs=target/static/$(uname -m)-unknown-linux-gnu/release
make_work_directory

# make_root NAME: the files of the image and those that every pod gets.
make_root() {
    mkdir -p "$work/$1"/{usr/bin,etc,dev,volume}
    install -m 0555 "$programs/cloner" "$work/$1/usr/bin/cloner"
    : >"$work/$1/dev/termination-log"
    chown 107:107 "$work/$1/dev/termination-log" "$work/$1/volume"
}

in_root() { exec chroot --userspec=107:107 "$work/$1" /usr/bin/cloner; }

[[ -x $programs/cloner && -x $programs/controller ]] || die "no static programs; scripts/image.sh makes them"
for program in cloner controller; do
    if readelf --program-headers "$programs/$program" | grep -q INTERP; then
        die "the $program needs a dynamic linker, but the image has none"
    fi
    root=$work/$program-alone
    mkdir -p "$root"
    install -m 0555 "$programs/$program" "$root/program"
    chroot --userspec=107:107 "$root" /program --version >/dev/null
done
echo "ok   both programs start in an empty root directory"

for name in cloner controller; do
    objcopy --dump-section ".dep-v0=$work/$name.deps" "$programs/$name" "$work/$name.copy" 2>/dev/null ||
        die "the $name contains no list of crates"
    python3 scripts/images/check.py "target/images/$name.tar" "$work/$name.deps" "target/images/$name.cdx.json" "$(uname -m)"
done
[[ $(chroot --userspec=107:107 "$work/cloner-alone" /program --version) = "cloner "* ]]
ln -s /program "$work/cloner-alone/bash"
chroot --userspec=107:107 "$work/cloner-alone" /bash -c echo "'hello cdi'" || die "a prep pod would fail"
if chroot --userspec=107:107 "$work/cloner-alone" /bash -c ls 2>/dev/null; then
    die "the image has a shell"
fi
echo "ok   sizes, users, labels, lists of crates and SBOMs; prep pods get their answer, and there is no shell"

make_certificates "$work/certificates"
make_root target
make_root source
install -D -o 107 -t "$work/target/tls" "$work"/certificates/{server.crt,server.key,client-ca.crt}
{ seq 200000; head -c 3000000 /dev/urandom; } >"$work/source/volume/file"
chown 107:107 "$work/source/volume/file"

(
    target_environment /tls
    LISTEN_PORT=0 DESTINATION=/volume/disk.img in_root target
) 2>"$work/target.log" &
target=$!
running+=("$target")
port=$(port_in "$work/target.log" "waiting for a clone on" "$target")
# The name is only in this file, so the source has to use it.
echo "127.0.0.1 target.decant.svc" >"$work/source/etc/hosts"
(
    source_environment "$work/certificates" "$port"
    export UPLOAD_URL=https://target.decant.svc:$port/v1beta1/upload
    export VOLUME_MODE=filesystem MOUNT_POINT=/volume PREALLOCATION=false
    in_root source
) 2>"$work/source.log" || {
    cat "$work"/*.log >&2
    die "the source failed"
}
wait "$target" || die "the target failed: $(<"$work/target.log")"
cmp "$work/source/volume/file" "$work/target/volume/file"
[[ $(<"$work/source/dev/termination-log") = "Clone Complete; decant1:"* ]] || die "the source wrote an unexpected termination message"
grep -q '"Clone Complete"' "$work/target/dev/termination-log" || die "the target wrote an unexpected termination message"
echo "ok   a clone between two empty root directories: name from /etc/hosts, TLS, user 107, termination messages"
