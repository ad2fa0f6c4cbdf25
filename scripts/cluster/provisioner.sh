# shellcheck shell=bash
# Sourced by scripts/cluster.sh: the dynamic provisioner of the tests (controller/test-support/src/bin/test-provisioner), its
# storage classes, and the image of pods that use its volumes. Its volumes are in $CLUSTER/volumes, so that `down` removes
# them even if the provisioner was killed.

SHELL_IMAGE=localhost/decant-shell:1

provisioner() {
    case ${1-} in
        up)
            [[ -d $CLUSTER ]] || die "no cluster runs; start one with scripts/cluster.sh up"
            build_debug
            make_shell_image
            kube apply -f scripts/cluster/provisioner.yaml -f scripts/cluster/snapshots.yaml >/dev/null
            # A provisioner that runs already may be an older build.
            end provisioner
            # shellcheck disable=SC2154  # build_debug sets it
            start provisioner "$debug/test-provisioner" "$ADMIN" "$CLUSTER/volumes" "$NODE"
            ;;
        down)
            [[ -d $CLUSTER ]] || return 0
            end provisioner
            local directory
            for directory in "$CLUSTER"/volumes/pvc-*/; do
                [[ ! -d $directory ]] || remove_volume "$(basename "$directory")"
            done
            kube delete -f scripts/cluster/provisioner.yaml -f scripts/cluster/snapshots.yaml --ignore-not-found >/dev/null
            ;;
        *) die "unknown command provisioner ${1-}: use up or down" ;;
    esac
}

# A static busybox, under the names of all its commands.
make_shell_image() {
    local directory=$CLUSTER/shell name
    [[ ! -d $directory ]] || return 0
    mkdir -p "$directory/root/bin" "$directory/root/tmp"
    cp "$(command -v busybox)" "$directory/root/bin/busybox"
    for name in $(busybox --list); do
        [[ $name = busybox ]] || ln -s busybox "$directory/root/bin/$name"
    done
    pack_image "$SHELL_IMAGE" "$directory/root" /bin/sh "$directory/shell.tar"
    ctr_here images import "$directory/shell.tar" >/dev/null
}

# Debian has two packages with busybox, and an image needs the static one.
has_static_busybox() { has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }
