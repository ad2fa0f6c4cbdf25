#!/usr/bin/env bash
# The programs of the images in an empty root: no shell, no libc, no DNS, nobody's user. As root.
#
#   scripts/image_test.sh      after scripts/image.sh
#
# A source and a target, each in a root of its own that holds the program, a volume and what a kubelet puts there:
# /etc/hosts with the target's name, /dev/termination-log, the Secret's files. The source finds the target by that
# name, both speak TLS, the content arrives, both end with 0 and say so. Before that, the archives are looked at: size,
# user, labels, the list of crates inside of each program and the SBOM beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh
case ${1-} in -h | --help)
    show_help
    exit ;;
esac
[[ $EUID -eq 0 ]] || die "a root of its own needs root"

programs=target/static/$(uname -m)-unknown-linux-gnu/release
work=$(mktemp -d)
running=()
clean_up() {
    local pid
    for pid in "${running[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# make_root NAME: what is in the image and what every pod gets.
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
        die "$program asks for a dynamic linker, and there is none in the image"
    fi
    chroot_root=$work/$program-alone
    mkdir -p "$chroot_root"
    install -m 0555 "$programs/$program" "$chroot_root/program"
    chroot --userspec=107:107 "$chroot_root" /program --version >/dev/null
done
echo "ok   both programs start in an empty root"

for name in cloner controller; do
    objcopy --dump-section ".dep-v0=$work/$name.deps" "$programs/$name" "$work/$name.copy" 2>/dev/null ||
        die "no list of crates in the $name"
    python3 scripts/images/check.py "target/images/$name.tar" "$work/$name.deps" "target/images/$name.cdx.json" "$(uname -m)"
done
[[ $(chroot --userspec=107:107 "$work/cloner-alone" /program --version) = "cloner "* ]]
ln -s /program "$work/cloner-alone/bash"
chroot --userspec=107:107 "$work/cloner-alone" /bash -c echo "'hello cdi'" || die "a prep pod would fail"
if chroot --userspec=107:107 "$work/cloner-alone" /bash -c ls 2>/dev/null; then
    die "there is a shell"
fi
echo "ok   sizes, user, labels, lists of crates, SBOMs; an answer for prep pods and no shell"

make_certificates "$work/certificates"
make_root target
make_root source
install -D -o 107 -t "$work/target/tls" "$work"/certificates/{server.crt,server.key,client-ca.crt}
{ seq 200000; head -c 3000000 /dev/urandom; } >"$work/source/volume/file"
chown 107:107 "$work/source/volume/file"

(
    target_environment /tls
    export LISTEN_PORT=0 DESTINATION=/volume/disk.img
    in_root target
) 2>"$work/target.log" &
target=$!
running+=("$target")
port=$(port_in "$work/target.log" "waiting for a clone on" "$target")
# Nobody else in the world knows this name.
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
[[ $(<"$work/source/dev/termination-log") = "Clone Complete; decant1:"* ]] || die "the source's last word is another one"
grep -q '"Clone Complete"' "$work/target/dev/termination-log" || die "the target's last word is another one"
echo "ok   a clone between two empty roots: name from /etc/hosts, TLS, user 107, last words"
