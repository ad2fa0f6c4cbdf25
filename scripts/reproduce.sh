#!/usr/bin/env bash
# Builds an image twice, in two folders and with two Cargo homes, and compares: archive digest and SBOM are the same.
#
#   scripts/reproduce.sh                    the cloner, without optimization: what could differ is where, not how fast
#   scripts/reproduce.sh --full [NAME]...   both images, or these, as they are released (four builds of minutes)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/pack.sh
. scripts/lib/pack.sh

names=(cloner)
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
    CARGO_HOME=$2 CARGO_NET_OFFLINE=true "$1/scripts/image.sh" "${names[@]}"
}
build "$work/first" "$home"
mkdir -p "$work/another-home"
for part in registry bin; do
    [[ ! -e $home/$part ]] || ln -s "$home/$part" "$work/another-home/$part"
done
build "$work/a/second/and/longer/one" "$work/another-home"

for name in "${names[@]}"; do
    for folder in first a/second/and/longer/one; do
        program=$work/$folder/target/static/$(uname -m)-unknown-linux-gnu/release/$name
        if grep -qaF "$work" "$program" || grep -qaF "$home/registry" "$program"; then
            die "$name holds a path of this machine"
        fi
    done
    [[ $(image_digest "$work/first/target/images/$name.tar") = \
        $(image_digest "$work/a/second/and/longer/one/target/images/$name.tar") ]] ||
        die "two builds of $name have two digests"
    cmp "$work"/{first,a/second/and/longer/one}/target/images/"$name.cdx.json"
    echo "ok   two builds of $name in two folders have one digest and one SBOM"
done
