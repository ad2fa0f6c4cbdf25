#!/usr/bin/env bash
# Tests the cloner for arm64, built on another machine: its image is complete, and it clones on a processor that QEMU
# emulates.
#
#   scripts/arm64.sh            builds it without optimization in target/arm64, then tests it
#   scripts/arm64.sh --build    only builds it
#   scripts/arm64.sh --built    tests what scripts/image.sh --arch arm64 built, both programs and images
#
# It checks the machine, size, user and labels of the image, the list of crates inside the program, and the SBOM next to it. It
# clones a directory and an image file on arm64 alone, and between arm64 and this machine in both directions, as in a cluster with
# nodes of both kinds. The digests must equal those that the cloner of this machine computes.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/ends.sh
. scripts/lib/ends.sh
# shellcheck source=scripts/lib/build.sh
. scripts/lib/build.sh
# shellcheck source=scripts/lib/source_copy.sh
. scripts/lib/source_copy.sh
help_if_asked "$@"

names=(cloner) built=$PWD/target/arm64/decant only_build=''
case ${1-} in
    '') ;;
    --build) only_build=yes ;;
    --built) names=(cloner controller) built=$PWD ;;
    *) die "unknown argument $1; see --help" ;;
esac
[[ $(uname -m) != aarch64 ]] || {
    echo "nothing to do: this machine is arm64, so scripts/image_test.sh and the other scripts test its programs"
    exit
}
command -v qemu-aarch64-static >/dev/null || die "qemu-aarch64-static is missing; scripts/test.sh setup installs it"

if [[ $built != "$PWD" ]]; then
    # In another directory, so that target/images never holds an image without optimization.
    (
        without_optimization
        copy_source "$built"
        "$built/scripts/image.sh" --arch arm64 cloner
    )
fi
[[ -z $only_build ]] || exit 0
make_work_directory
programs=$built/target/static/aarch64-unknown-linux-gnu/release

for name in "${names[@]}"; do
    [[ -x $programs/$name ]] || die "no $name for arm64; scripts/image.sh --arch arm64 builds it"
    readelf --file-header "$programs/$name" | grep -q 'Machine: *AArch64' || die "the $name was not built for arm64"
    if readelf --program-headers "$programs/$name" | grep -q INTERP; then
        die "the $name needs a dynamic linker, but the image has none"
    fi
    for path in "$work" "$PWD" "${CARGO_HOME:-$HOME/.cargo}" "${XDG_CACHE_HOME:-$HOME/.cache}/decant"; do
        if grep -qaF "$path/" "$programs/$name"; then die "the $name contains a path of this machine: $path"; fi
    done
    # The objcopy of this machine cannot write programs for arm64; the one of the cross compiler can.
    aarch64-linux-gnu-objcopy --dump-section ".dep-v0=$work/$name.deps" "$programs/$name" "$work/$name.copy" ||
        die "the $name contains no list of crates"
    python3 scripts/images/check.py "$built/target/images/$name-arm64.tar" "$work/$name.deps" \
        "$built/target/images/$name-arm64.cdx.json" aarch64
    qemu-aarch64-static "$programs/$name" --version
    qemu-aarch64-static "$programs/$name" --help >"$work/help"
done
qemu-aarch64-static -0 /bin/bash "$programs/cloner" -c echo "'hello cdi'" || die "a prep pod would fail"
echo "ok   static programs for arm64 in an image for arm64, with its list of crates and SBOM"

build_debug
here=$debug/cloner
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

# same WHAT SOURCE COPY: fails unless content, links and the digests of both machines are equal.
same() {
    local digest
    diff --recursive --no-dereference "$2" "$3" || die "$1: the content differs"
    digest=$("$here" digest "$2" | cut -d' ' -f1)
    [[ $digest = decant1:* ]] || die "$1: no digest"
    "$arm64" digest --expect "$digest" "$3" >/dev/null || die "$1: the digest on arm64 differs"
    echo "ok   $1: $digest"
}

"$arm64" copy --quiet "$work/volume" "$work/copied"
same "a directory on arm64" "$work/volume" "$work/copied"
"$arm64" copy --quiet "$work/disk/disk.img" "$work/copied.img"
same "an image file on arm64" "$work/disk/disk.img" "$work/copied.img"

certificates=$work/certificates
make_certificates "$certificates"
# between SOURCE TARGET DIRECTORY NAME: clones DIRECTORY into a new directory NAME.
between() {
    local pid port target
    CLONER=$2
    start_target "$work/$4"
    target=$pid
    CLONER=$1
    VOLUME_MODE=filesystem MOUNT_POINT=$3 PREALLOCATION=false start_source "$port"
    wait "$pid" || {
        cat "$work"/*.log >&2
        die "the source failed"
    }
    wait "$target" || die "the target failed: $(<"$work/target.log")"
}
between "$arm64" "$here" "$work/volume" from-arm64
same "from arm64 to $(uname -m)" "$work/volume" "$work/from-arm64"
between "$here" "$arm64" "$work/disk" to-arm64
same "from $(uname -m) to arm64" "$work/disk" "$work/to-arm64"
