#!/usr/bin/env bash
# Makes the two images: one static program each, no shell, no libc, user 107.
#
#   scripts/image.sh [cloner|controller]...
#
# Leaves target/images/cloner.tar and target/images/controller.tar (OCI archives) for
# localhost/decant/cloner:VERSION and localhost/decant/controller:VERSION, and prints their names and sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/words.sh
. scripts/lib/words.sh
# shellcheck source=scripts/lib/pack.sh
. scripts/lib/pack.sh

case ${1-} in -h | --help)
    show_help
    exit ;;
esac
[[ $# -gt 0 ]] || set -- cloner controller
command -v buildah >/dev/null || die "buildah is missing; scripts/cluster.sh setup installs it"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
host=$(uname -m)-unknown-linux-gnu
# glibc can be linked statically; what is missing then is the lookup of names over DNS modules, and a source only
# needs /etc/hosts.
flags='-C target-feature=+crt-static'
mkdir -p target/images
for name in "$@"; do
    [[ $name = cloner || $name = controller ]] || die "no image is called $name"
    RUSTFLAGS=$flags cargo build --locked --quiet --release --target "$host" --target-dir target/static -p "decant-$name" --bin "$name"
    pack_image "localhost/decant/$name:$version" "target/static/$host/release/$name" "/usr/bin/$name" \
        "target/images/$name.tar" 107:107
    echo "localhost/decant/$name:$version: $(stat -c %s "target/images/$name.tar" | numfmt --to=iec-i --suffix=B)"
done
