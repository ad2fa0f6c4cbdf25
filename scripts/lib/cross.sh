# shellcheck shell=bash
# Sourced by scripts that build for another kind of machine: selects the Rust compiler.
#
# The compiler is the default one if `rustup target add` has installed the standard library for that machine. Otherwise it is
# Debian's (rustc-web, which Debian's security archive keeps new enough for browsers). These packages conflict with Debian's rustup
# and rustc packages, so they are only unpacked, into a directory that is in no search path. Other builds are not affected.

# The directory of Debian's Rust. Its file `packages` names the packages.
debian_rust_directory() {
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/decant/debian-rust"
}

# has_standard_library RUSTC TARGET
has_standard_library() {
    [[ -d $("$1" --print sysroot 2>/dev/null)/lib/rustlib/$2/lib ]]
}

# use_rust_for TARGET: exports RUSTC if the default compiler cannot build for the target, and prints the version.
use_rust_for() {
    local debian
    debian=$(debian_rust_directory)/rustc
    if has_standard_library "${RUSTC:-rustc}" "$1"; then
        echo "for $1: $("${RUSTC:-rustc}" --version)"
    elif [[ -x $debian ]] && has_standard_library "$debian" "$1"; then
        export RUSTC=$debian
        echo "for $1: $("$debian" --version), Debian's ($(grep -o 'rustc-web_[^ ]*' "${debian%/*}/packages"))"
    else
        die "no Rust for $1: run rustup target add $1, or scripts/test.sh setup, which fetches Debian's"
    fi
}

# setup_cross: installs what scripts/arm64.sh needs on a machine that is not arm64 itself.
setup_cross() {
    local target=aarch64-unknown-linux-gnu packages=()
    [[ $(uname -m) = x86_64 ]] || return 0
    has aarch64-linux-gnu-gcc || packages+=(gcc-aarch64-linux-gnu)
    # The C library. The package of the compiler only recommends it.
    [[ -e /usr/aarch64-linux-gnu/lib/libc.a ]] || packages+=(libc6-dev-arm64-cross)
    has qemu-aarch64-static || packages+=(qemu-user-static)
    [[ ${#packages[@]} -eq 0 ]] || install_packages "${packages[@]}"
    has_standard_library rustc "$target" || has_standard_library "$(debian_rust_directory)/rustc" "$target" || fetch_debian_rust
}

# fetch_debian_rust: unpacks Debian's compiler for this machine and its standard libraries for this one and arm64.
# apt uses separate lists, because those of this machine do not contain arm64.
fetch_debian_rust() {
    local directory scratch version libraries own
    directory=$(debian_rust_directory)
    own=$(dpkg --print-architecture)
    mkdir -p "${directory%/*}"
    scratch=$(mktemp -d "${directory%/*}/debian-rust.XXXXXX")
    mkdir -p "$scratch"/{lists/partial,packages.d,usr}
    local options=(-qq -o Dir::State::Lists="$scratch/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Architectures::="$own" -o APT::Architectures::=arm64 -o APT::Sandbox::User=)
    # Retries: a mirror fails for a short time while it is updated.
    apt-get "${options[@]}" update || { sleep 20 && apt-get "${options[@]}" update; } || { sleep 60 && apt-get "${options[@]}" update; }
    version=$(apt-cache "${options[@]}" policy rustc-web | sed -n 's/^ *Candidate: //p')
    # 1.96.0+dfsg1-1 needs libstd-rust-web-1.96
    (
        cd "$scratch/packages.d" || exit
        apt-get "${options[@]}" download "rustc-web=$version" "libstd-rust-web-$(cut -d. -f1,2 <<<"$version")=$version" \
            "libstd-rust-web-dev=$version" "libstd-rust-web-dev:arm64=$version"
    )
    for package in "$scratch"/packages.d/*.deb; do
        dpkg-deb --extract "$package" "$scratch"
    done
    # LLVM is installed: as an ordinary library it affects no other compiler.
    libraries=$(dpkg-deb --field "$scratch"/packages.d/libstd-rust-web-[0-9]*.deb Depends | grep -o 'libllvm[0-9]*')
    dpkg --status "$libraries" >/dev/null 2>&1 || install_packages "$libraries"
    (cd "$scratch/packages.d" && echo *.deb) >"$scratch/packages"
    rm -r "$scratch"/{packages.d,lists}
    cat >"$scratch/rustc" <<'WRAPPER'
#!/bin/sh
here=${0%/*}
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/usr/bin/rustc" "$@"
WRAPPER
    chmod 0755 "$scratch" "$scratch/rustc"
    rm -rf "$directory"
    mv -T "$scratch" "$directory"
}
