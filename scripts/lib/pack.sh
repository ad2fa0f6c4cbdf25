# shellcheck shell=bash
# Sourced by scripts that make images.

# pack_image NAME BINARY PATH ARCHIVE [USER]: an OCI archive with nothing but one program in it.
pack_image() (
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    storage=$(mktemp -d)
    build() { buildah --root "$storage/root" --runroot "$storage/run" "$@"; }
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$storage'" EXIT
    container=$(build from scratch)
    build copy --quiet --chmod 0555 "$container" "$2" "$3" >/dev/null
    build config --entrypoint "[\"$3\"]" --workingdir / --user "${5:-0:0}" "$container"
    build commit --quiet "$container" "$1" >/dev/null
    rm -f "$4"
    build push --quiet "$1" "oci-archive:$4:$1"
)
