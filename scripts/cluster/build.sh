# shellcheck shell=bash
# Sourced by scripts/cluster.sh: builds the programs of Kubernetes from Debian's source package, once.

# Debian has no packages with the server programs of Kubernetes, but its source package contains the whole upstream tree.
KUBERNETES_PACKAGE=kubernetes
KUBERNETES_VERSION=1.20.2
# Incremented when the build below changes, so that older builds are not used.
KUBERNETES_BUILD=2
KUBERNETES_PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

# The directory of the built programs. Each version has its own.
kubernetes_directory() {
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/decant/kubernetes-$KUBERNETES_VERSION-$KUBERNETES_BUILD"
}

# build_kubernetes: builds all programs into kubernetes_directory. They are moved there at the end, so that an incomplete
# build is not used.
build_kubernetes() (
    set -euo pipefail
    directory=$(kubernetes_directory)
    [[ ! -d $directory ]] || exit 0
    mkdir -p "${directory%/*}"
    work=$(mktemp -d "${directory%/*}/build.XXXXXX")
    # shellcheck disable=SC2064  # the current value
    trap "chmod -R u+w '$work'; rm -rf '$work'" EXIT
    fetch_source "$work"
    root=$work/go/src/k8s.io/kubernetes
    mkdir -p "$root"
    tar -xf "$work"/download/*.orig.tar.* -C "$root" --strip-components=1
    cd "$root"
    replace_reflect2 "$work"
    export GOPATH=$work/go GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' GOCACHE=$work/cache
    echo "building Kubernetes $KUBERNETES_VERSION: about 6 minutes on two cores, only once"
    mkdir "$work/bin"
    generate_openapi "$work/bin"
    go build -ldflags "$(version_flags)" -o "$work/bin/" "${KUBERNETES_PROGRAMS[@]/#/./cmd/}"
    rm -f "$work/bin/openapi-gen"
    mv "$work/bin" "$directory"
)

# fetch_source DIRECTORY: downloads the source package, through a temporary entry in the list of sources.
fetch_source() {
    local list=/etc/apt/sources.list.d/decant-source.sources
    sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources | as_root tee "$list" >/dev/null
    as_root apt-get update -qq
    mkdir "$1/download"
    (
        cd "$1/download"
        apt-get source -qq --download-only "$KUBERNETES_PACKAGE"
    )
    as_root rm "$list"
}

# replace_reflect2 DIRECTORY: the vendored copy is older than Go 1.18 and corrupts memory with it: the API server would crash
# every few minutes. Debian has a newer version.
replace_reflect2() {
    local vendored=vendor/github.com/modern-go/reflect2
    (
        cd "$1/download"
        apt-get download -qq golang-github-modern-go-reflect2-dev
        dpkg-deb --extract golang-github-modern-go-reflect2-dev_*.deb .
    )
    rm -r "$vendored"
    cp -r "$1/download/usr/share/gocode/src/github.com/modern-go/reflect2" "$vendored"
    rm -f "$vendored"/*_test.go
}

# generate_openapi DIRECTORY: generates the only file that the source package lacks.
generate_openapi() {
    go build -o "$1/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    local packages
    packages=$(grep -rl --include='*.go' '+k8s:openapi-gen=' staging/src/k8s.io pkg cmd |
        grep -vE 'sample-apiserver|sample-controller|code-generator|_examples|/crd/|/kubectl/|zz_generated|/testdata/' |
        xargs -n1 dirname | sort -u |
        sed -e 's|^staging/src/|k8s.io/kubernetes/vendor/|' -e '/^k8s.io/!s|^|k8s.io/kubernetes/|' |
        paste -sd,)
    "$1/openapi-gen" --logtostderr -v 0 --input-dirs "$packages" \
        --output-package k8s.io/kubernetes/pkg/generated/openapi --output-file-base zz_generated.openapi \
        --go-header-file hack/boilerplate/boilerplate.generatego.txt --report-filename /dev/null
}

# Without these flags the version is v0.0.0-master.
version_flags() {
    local package
    for package in k8s.io/kubernetes/vendor/k8s.io/component-base k8s.io/kubernetes/vendor/k8s.io/client-go/pkg; do
        printf -- '-X %s/version.gitVersion=v%s -X %s/version.gitMajor=%s -X %s/version.gitMinor=%s ' \
            "$package" "$KUBERNETES_VERSION" "$package" 1 "$package" 20
    done
}
