#!/usr/bin/env bash
# Builds an image twice, in two directories and with two Cargo homes, and compares: archive digest and SBOM must be equal.
#
#   scripts/reproduce.sh                    the cloner, without optimization: a path would leak into the image at any
#                                           optimization level
#   scripts/reproduce.sh --full [NAME]...   both images, or the named ones, as they are released (four builds of minutes)
#
# --arch arm64 as the first argument selects the images for arm64, built with a cross compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/oci.sh
. scripts/lib/oci.sh
# shellcheck source=scripts/lib/source_copy.sh
. scripts/lib/source_copy.sh
help_if_asked "$@"

names=(cloner) arch=() suffix='' machine=$(uname -m)
if [[ ${1-} = --arch ]]; then
    [[ ${2-} = arm64 && $machine != aarch64 ]] || die "--arch accepts only arm64, and only on other machines"
    arch=(--arch arm64) suffix=-arm64 machine=aarch64
    shift 2
fi
case ${1-} in
    --full)
        shift
        names=("$@")
        [[ $# -gt 0 ]] || names=(cloner controller)
        ;;
    '') without_optimization ;;
    *) die "unknown argument $1; see --help" ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
home=${CARGO_HOME:-$HOME/.cargo}
first=$work/first second=$work/a/second/and/longer/one
cargo fetch --locked --quiet

# build DIRECTORY CARGO_HOME
build() {
    copy_source "$1"
    CARGO_HOME=$2 CARGO_NET_OFFLINE=true "$1/scripts/image.sh" "${arch[@]}" "${names[@]}"
}
mkdir -p "$work/second-home"
for part in registry bin; do
    [[ ! -e $home/$part ]] || ln -s "$home/$part" "$work/second-home/$part"
done
# Both builds run at the same time: a single one leaves processors idle while it waits for one crate.
build "$first" "$home" &
build "$second" "$work/second-home" || die "the second build failed"
wait $! || die "the first build failed"

for name in "${names[@]}"; do
    for directory in "$first" "$second"; do
        program=$directory/target/static/$machine-unknown-linux-gnu/release/$name
        if grep -qaF "$work" "$program" || grep -qaF "$home/registry" "$program"; then
            die "$name contains a path of this machine"
        fi
    done
    [[ $(image_digest "$first/target/images/$name$suffix.tar") = "$(image_digest "$second/target/images/$name$suffix.tar")" ]] ||
        die "the digests of two builds of $name differ"
    cmp "$first/target/images/$name$suffix.cdx.json" "$second/target/images/$name$suffix.cdx.json"
    echo "ok   two builds of $name$suffix in two directories have one digest and one SBOM"
done
