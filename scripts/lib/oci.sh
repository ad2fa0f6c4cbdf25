# shellcheck shell=bash
# Sourced by scripts that build images.

# pack_image NAME ROOT ENTRYPOINT ARCHIVE [USER [ARCH [LABEL=VALUE]...]]: writes an OCI archive with the content of the
# directory ROOT and nothing else. The same files have the same digest on every machine: times are SOURCE_DATE_EPOCH (1970
# without it), the owner is root, modes are those in ROOT.
pack_image() (
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    storage=$(mktemp -d)
    build() { buildah --root "$storage/root" --runroot "$storage/run" "$@"; }
    # shellcheck disable=SC2064  # the current value
    trap "rm -rf '$storage'" EXIT
    container=$(build from scratch)
    build copy --quiet --chown 0:0 "$container" "$2" / >/dev/null
    labels=()
    for label in "${@:7}"; do
        labels+=(--label "$label")
    done
    build config --entrypoint "[\"$3\"]" --workingdir / --user "${5:-0:0}" ${6:+--arch "$6"} "${labels[@]}" "$container"
    build commit --quiet --identity-label=false --timestamp "${SOURCE_DATE_EPOCH:-0}" "$container" "$1" >/dev/null
    rm -f "$4"
    build push --quiet "$1" "oci-archive:$4:$1"
)

# image_digest ARCHIVE: prints the digest of the manifest in an OCI archive, which a registry shows and cosign signs.
image_digest() {
    tar -xOf "$1" index.json | python3 -c 'import json, sys; print(json.load(sys.stdin)["manifests"][0]["digest"])'
}
