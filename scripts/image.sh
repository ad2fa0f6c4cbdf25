#!/usr/bin/env bash
# Builds the two images: one static program each, no shell, no libc, user 107.
#
#   scripts/image.sh [--arch amd64|arm64] [cloner|controller]...
#
# Writes target/images/cloner.tar and target/images/controller.tar (OCI archives) for localhost/decant/cloner:VERSION and
# localhost/decant/controller:VERSION, and next to each its SBOM (CycloneDX, cloner.cdx.json). Prints names, sizes and
# digests. Images for another kind of machine are called cloner-arm64.tar and so on; they need Debian's cross compiler
# (gcc-aarch64-linux-gnu, gcc-x86-64-linux-gnu) and Rust for that machine: from `rustup target add`, or Debian's Rust,
# which scripts/test.sh setup fetches.
#
# The same commit has the same digests in every directory (scripts/reproduce.sh compares them). The time in the image is
# SOURCE_DATE_EPOCH, by default the time of the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
# shellcheck source=scripts/lib/oci.sh
. scripts/lib/oci.sh
# shellcheck source=scripts/lib/cross.sh
. scripts/lib/cross.sh

help_if_asked "$@"
own=$(uname -m) arch=
if [[ ${1-} = --arch ]]; then
    arch=${2-}
    shift 2 || die "--arch needs a value: amd64 or arm64"
fi
[[ $# -gt 0 ]] || set -- cloner controller
case ${arch:-$own} in
    amd64 | x86_64) machine=x86_64 arch=amd64 ;;
    arm64 | aarch64) machine=aarch64 arch=arm64 ;;
    *) die "cannot build an image for ${arch:-$own}: use amd64 or arm64" ;;
esac
target=$machine-unknown-linux-gnu suffix=
command -v buildah >/dev/null || die "buildah is missing; scripts/test.sh setup installs it"
command -v cargo-auditable >/dev/null || die "cargo-auditable is missing; scripts/test.sh setup installs it"
if [[ $machine != "$own" ]]; then
    suffix=-$arch
    command -v "$machine-linux-gnu-gcc" >/dev/null || die "the cross compiler is missing: apt-get install gcc-${machine/_/-}-linux-gnu"
    use_rust_for "$target"
    export "CARGO_TARGET_$(tr '[:lower:]-' '[:upper:]_' <<<"$target")_LINKER=$machine-linux-gnu-gcc"
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
revision=$(git rev-parse HEAD 2>/dev/null || true)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
# Static linking of glibc leaves out only the modules for name resolution, and a source needs only /etc/hosts. The other flags keep
# rustc and the C compiler from writing paths of this machine into the programs.
home=${CARGO_HOME:-$HOME/.cargo}
flags="-C target-feature=+crt-static --remap-path-prefix=$PWD=/decant --remap-path-prefix=$home=/cargo"
export CFLAGS="${CFLAGS-} -ffile-prefix-map=$PWD=/decant -ffile-prefix-map=$home=/cargo"
mkdir -p target/images
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# lay_out NAME: puts the files of the image into $root.
lay_out() {
    rm -rf "${root:?}"/*
    install -D -m 0555 "target/static/$target/release/$1" "$root/usr/bin/$1"
    if [[ $1 = cloner ]]; then
        # CDI's prep pods run it (docs/protocol.md section 1.1).
        mkdir "$root/bin"
        ln -s /usr/bin/cloner "$root/bin/bash"
    fi
    find "$root" -type d -exec chmod 0755 {} +
}

for name in "$@"; do
    [[ $name = cloner || $name = controller ]] || die "no such image: $name"
    RUSTFLAGS=$flags cargo auditable build --locked --quiet --release --target "$target" --target-dir target/static \
        -p "decant-$name" --bin "$name"
    lay_out "$name"
    archive=target/images/$name$suffix.tar
    pack_image "localhost/decant/$name:$version" "$root" "/usr/bin/$name" "$archive" 107:107 "$arch" \
        "org.opencontainers.image.title=decant-$name" \
        "org.opencontainers.image.description=$(sed -n 's/^description = "\(.*\)"/\1/p' "$name/Cargo.toml")" \
        "org.opencontainers.image.version=$version" \
        "org.opencontainers.image.licenses=Apache-2.0" \
        "org.opencontainers.image.created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%FT%TZ)" \
        ${revision:+"org.opencontainers.image.revision=$revision"}
    python3 scripts/images/sbom.py "decant-$name" "$target" >"target/images/$name$suffix.cdx.json"
    echo "localhost/decant/$name:$version $arch: $(stat -c %s "$archive" | numfmt --to=iec-i --suffix=B), $(image_digest "$archive")"
done
