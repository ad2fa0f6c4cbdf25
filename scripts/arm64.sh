#!/usr/bin/env bash
# The cloner for arm64, made on another machine: it is packed as promised and clones, on a processor that QEMU emulates.
#
#   scripts/arm64.sh            builds it without optimization, in a folder that goes away
#   scripts/arm64.sh --built    takes what scripts/image.sh --arch arm64 left, both programs and images
#
# The image is looked at: machine, size, user, labels, the list of crates inside of the program, the SBOM beside it.
# Folder and image file are cloned by arm64 alone, and between arm64 and this machine in both directions, as happens in a
# cluster with nodes of both kinds. The digests must be those that this machine's cloner computes.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh

names=(cloner) built=$PWD
case ${1-} in
    -h | --help)
        show_help
        exit
        ;;
    --built) names=(cloner controller) ;;
    '') built= ;;
    *) die "unknown argument $1; see --help" ;;
esac
[[ $(uname -m) != aarch64 ]] || {
    echo "this machine is one itself: scripts/image_test.sh and the others try it"
    exit
}
command -v qemu-aarch64-static >/dev/null || die "qemu-aarch64-static is missing; scripts/test.sh setup installs it"

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

if [[ -z $built ]]; then
    # Nothing in target/images may be taken for the optimized one.
    built=$work/decant
    mkdir "$built"
    git ls-files -z | tar -c --null --files-from - | tar -x -C "$built"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 "$built/scripts/image.sh" --arch arm64 cloner
fi
programs=$built/target/static/aarch64-unknown-linux-gnu/release

for name in "${names[@]}"; do
    [[ -x $programs/$name ]] || die "no $name for arm64; scripts/image.sh --arch arm64 makes it"
    readelf --file-header "$programs/$name" | grep -q 'Machine: *AArch64' || die "the $name is for another machine"
    if readelf --program-headers "$programs/$name" | grep -q INTERP; then
        die "the $name asks for a dynamic linker, and there is none in the image"
    fi
    for path in "$work" "$PWD" "${CARGO_HOME:-$HOME/.cargo}" "${XDG_CACHE_HOME:-$HOME/.cache}/decant"; do
        if grep -qaF "$path/" "$programs/$name"; then die "the $name holds a path of this machine: $path"; fi
    done
    # objcopy of this machine cannot write arm64's programs; that compiler's can.
    aarch64-linux-gnu-objcopy --dump-section ".dep-v0=$work/$name.deps" "$programs/$name" "$work/$name.copy" ||
        die "no list of crates in the $name"
    python3 scripts/images/check.py "$built/target/images/$name-arm64.tar" "$work/$name.deps" \
        "$built/target/images/$name-arm64.cdx.json" aarch64
    qemu-aarch64-static "$programs/$name" --version
    qemu-aarch64-static "$programs/$name" --help >"$work/help"
done
qemu-aarch64-static -0 /bin/bash "$programs/cloner" -c echo "'hello cdi'" || die "a prep pod would fail"
echo "ok   static programs for arm64 in an image for arm64, with its list of crates and SBOM"

cargo build --quiet --locked -p decant-cloner
here=$PWD/target/debug/cloner
[[ -z ${CARGO_TARGET_DIR-} ]] || here=$CARGO_TARGET_DIR/debug/cloner
arm64=$work/arm64-cloner
printf '#!/bin/sh\nexec qemu-aarch64-static %q "$@"\n' "$programs/cloner" >"$arm64"
chmod 0755 "$arm64"

mkdir -p "$work"/{volume/sub,disk}
seq 200000 >"$work/volume/file"
head -c 2000000 /dev/urandom >"$work/volume/sub/noise"
ln -s file "$work/volume/link"
ln "$work/volume/file" "$work/volume/sub/another-name"
truncate -s 8M "$work/volume/holes"
truncate -s 8M "$work/disk/disk.img"
for file in volume/holes disk/disk.img; do
    dd if=/dev/urandom of="$work/$file" bs=1M seek=3 count=1 conv=notrunc status=none
done

# same WHAT ONE OTHER: content, links and the digests of both machines.
same() {
    local digest
    diff --recursive --no-dereference "$2" "$3" || die "$1: the content differs"
    digest=$("$here" digest "$2" | cut -d' ' -f1)
    [[ $digest = decant1:* ]] || die "$1: no digest"
    "$arm64" digest --expect "$digest" "$3" >/dev/null || die "$1: another digest on arm64"
    echo "ok   $1: $digest"
}

"$arm64" copy --quiet "$work/volume" "$work/copied"
same "a folder on arm64" "$work/volume" "$work/copied"
"$arm64" copy --quiet "$work/disk/disk.img" "$work/copied.img"
same "an image file on arm64" "$work/disk/disk.img" "$work/copied.img"

make_certificates "$work/certificates"
# between SOURCE TARGET FOLDER NAME: clones FOLDER into a folder NAME.
between() {
    local pid port
    mkdir "$work/$4"
    : >"$work/target.log"
    (
        target_environment "$work/certificates"
        export LISTEN_PORT=0 DESTINATION=$work/$4/disk.img
        exec "$2" target --plain-health-port 0 --termination-log "$work/none"
    ) 2>"$work/target.log" &
    pid=$!
    running+=("$pid")
    port=$(port_in "$work/target.log" "waiting for a clone on" "$pid")
    (
        source_environment "$work/certificates" "$port"
        export VOLUME_MODE=filesystem MOUNT_POINT=$3 PREALLOCATION=false
        exec "$1" source --metrics-port 0 --termination-log "$work/none"
    ) 2>"$work/source.log" || {
        cat "$work"/*.log >&2
        die "the source failed"
    }
    wait "$pid" || die "the target failed: $(<"$work/target.log")"
}
between "$arm64" "$here" "$work/volume" from-arm64
same "from arm64 to $(uname -m)" "$work/volume" "$work/from-arm64"
between "$here" "$arm64" "$work/disk" to-arm64
same "from $(uname -m) to arm64" "$work/disk" "$work/to-arm64"
