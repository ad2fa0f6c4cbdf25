# shellcheck shell=bash
# Sourced by scripts/cluster.sh: local PersistentVolumes on loop devices. Every filesystem volume has its own ext4, so that it
# can really become full.

# add_volumes MODE SIZE CLASS NAME...
add_volumes() {
    local mode=$1 size=$2 class=$3 name
    shift 3
    mkdir -p "$CLUSTER/volumes"
    for name in "$@"; do
        add_volume "$mode" "$size" "$class" "$name"
    done | kube apply -f - >/dev/null
}

add_volume() {
    local mode=$1 size=$2 class=$3 name=$4 directory path
    directory=$CLUSTER/volumes/$name
    [[ ! -e $directory ]] || die "volume $name already exists"
    mkdir "$directory"
    truncate -s "$(numfmt --from=iec-i "${size%B}")" "$directory/file"
    if [[ $mode = block ]]; then
        path=$(losetup --find --show "$directory/file")
        echo "$path" >"$directory/device"
        mode=Block
    else
        mkfs.ext4 -q -m 0 -E nodiscard "$directory/file"
        path=$directory/mount
        mkdir "$path"
        mount -o loop "$directory/file" "$path"
        mode=Filesystem
    fi
    cat <<EOF
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: $name, labels: {decant.dev/volume: $name}}
spec:
  capacity: {storage: $size}
  accessModes: [ReadWriteOnce]
  volumeMode: $mode
  persistentVolumeReclaimPolicy: Retain
  storageClassName: $class
  local: {path: $path}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$NODE]}]
EOF
}

# remove_volume NAME
remove_volume() {
    local directory=$CLUSTER/volumes/$1
    kube delete pv "$1" --ignore-not-found --wait=false >/dev/null 2>&1 || true
    free_volume "$directory"
}

free_volume() {
    local device upper
    umount "$1/mount" 2>/dev/null || true
    # Includes the loop devices that the kubelet attached to the same file, or to a loop device on it.
    for device in $(loop_devices "$1/file"); do
        for upper in $(loop_devices "$device") "$device"; do
            losetup --detach "$upper" 2>/dev/null || true
        done
    done
    rm -rf "$1"
}

loop_devices() { losetup --noheadings --output NAME --associated "$1" 2>/dev/null; }

end_volumes() {
    local directory
    for directory in "$CLUSTER"/volumes/*/; do
        [[ -d $directory ]] && free_volume "${directory%/}"
    done
    return 0
}
