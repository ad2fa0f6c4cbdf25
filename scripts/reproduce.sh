#!/usr/bin/env bash
# Builds an image twice, in two folders and with two Cargo homes, and compares: archive digest and SBOM are the same.
#
#   scripts/reproduce.sh                    the cloner, without optimization: what could differ is where, not how fast
#   scripts/reproduce.sh --full [NAME]...   both images, or these, as they are released (four builds of minutes)
#
# With --arch arm64 before that, the images for that machine, by a cross compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/pack.sh
. scripts/lib/pack.sh

names=(cloner) arch=() suffix='' machine=$(uname -m)
if [[ ${1-} = --arch ]]; then
    [[ ${2-} = arm64 && $machine != aarch64 ]] || die "--arch arm64, on another machine"
    arch=(--arch arm64) suffix=-arm64 machine=aarch64
    shift 2
fi
case ${1-} in
    -h | --help)
        show_help
        exit
        ;;
    --full)
        shift
        names=("$@")
        [[ $# -gt 0 ]] || names=(cloner controller)
        ;;
    '')
        export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
        ;;
    *) die "unknown argument $1; see --help" ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
home=${CARGO_HOME:-$HOME/.cargo}
cargo fetch --locked --quiet

# build FOLDER CARGO_HOME: both with names of their own, of different lengths.
build() {
    mkdir -p "$1"
    git ls-files -z | tar -c --null --files-from - | tar -x -C "$1"
    CARGO_HOME=$2 CARGO_NET_OFFLINE=true "$1/scripts/image.sh" "${arch[@]}" "${names[@]}"
}
build "$work/first" "$home"
mkdir -p "$work/another-home"
for part in registry bin; do
    [[ ! -e $home/$part ]] || ln -s "$home/$part" "$work/another-home/$part"
done
build "$work/a/second/and/longer/one" "$work/another-home"

for name in "${names[@]}"; do
    for folder in first a/second/and/longer/one; do
        program=$work/$folder/target/static/$machine-unknown-linux-gnu/release/$name
        if grep -qaF "$work" "$program" || grep -qaF "$home/registry" "$program"; then
            die "$name holds a path of this machine"
        fi
    done
    [[ $(image_digest "$work/first/target/images/$name$suffix.tar") = \
        $(image_digest "$work/a/second/and/longer/one/target/images/$name$suffix.tar") ]] ||
        die "two builds of $name have two digests"
    cmp "$work"/{first,a/second/and/longer/one}/target/images/"$name$suffix.cdx.json"
    echo "ok   two builds of $name$suffix in two folders have one digest and one SBOM"
done
