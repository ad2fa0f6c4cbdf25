# shellcheck shell=bash
# Sourced by scripts/test.sh: installs what its steps need and this machine lacks. Debian 12, as root or with
# sudo; Rust itself is expected to be there.

# Fixed, so that a new release of a tool never turns a good commit red.
DENY_VERSION=0.20.2
FUZZ_VERSION=0.13.2
CRAMJAM_VERSION=2.14.0

# A command and the package that has it.
APT_TOOLS=(
    c++:build-essential promtool:prometheus bsdtar:libarchive-tools curl:curl openssl:openssl tar:tar
    unshare:util-linux script:bsdutils mkfs.ext4:e2fsprogs shellcheck:shellcheck git:git python3:python3
    chromium:chromium setfattr:attr
)

# The python that has cramjam, an independent reader and writer of snappy frames.
venv_folder() {
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/decant/venv"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# The Prometheus package starts a server and we only want promtool. Forbidding starts while it is installed
# would need a file that others may own, so what it started is stopped afterwards, if none ran before.
install_packages() {
    local before=no
    grep -qsx prometheus /proc/[0-9]*/comm && before=yes
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    if [[ $before = no && " $* " = *' prometheus '* ]]; then
        if [[ -d /run/systemd/system ]]; then
            as_root systemctl disable --now --quiet prometheus.service
        else
            as_root service prometheus stop >/dev/null 2>&1 || true
        fi
    fi
}

# Folders of mkfs and friends are not in everybody's path.
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

setup() {
    local tool packages=()
    for tool in "${APT_TOOLS[@]}"; do
        has "${tool%%:*}" || packages+=("${tool#*:}")
    done
    # Debian ships venv without the part that makes one.
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv python3-pip)
    if [[ ${#packages[@]} -gt 0 ]]; then
        echo "installing ${packages[*]}"
        install_packages "${packages[@]}"
    fi

    [[ $(cargo deny --version 2>/dev/null) = "cargo-deny $DENY_VERSION" ]] ||
        cargo install --locked --quiet --no-default-features --version "$DENY_VERSION" cargo-deny
    [[ $(cargo fuzz --version 2>/dev/null) = "cargo-fuzz $FUZZ_VERSION" ]] ||
        cargo install --locked --quiet --version "$FUZZ_VERSION" cargo-fuzz

    local venv
    venv=$(venv_folder)
    if ! "$venv/bin/python" -c 'import cramjam' 2>/dev/null; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet "cramjam==$CRAMJAM_VERSION"
    fi
    rustup component list --installed 2>/dev/null | grep -q . || return 0
    for tool in clippy rustfmt; do
        rustup component list --installed | grep -q "^$tool" || rustup component add "$tool"
    done
}
