#!/usr/bin/env bash
# Runs one end of CDI's pair for scripts/bench.sh, with its configuration in the environment.
#
#   peer.sh target DIRECTORY PROGRAM                     DIRECTORY becomes its /data
#   peer.sh source fs|block PATH BYTES PROGRAM STARTED   PATH becomes its /data or its /dev/cdi-block-volume
#
# CDI's programs use fixed paths, so each gets its own root directory: the directories of the machine, except for /dev, /data and
# /scratch. They are mounted in a private namespace, which ends with the program. The file STARTED gets the time at which the
# program was started. Every step is an exec: the process id and the exit code are those of the program.
set -euo pipefail

if [[ ${1-} != --inside ]]; then
    exec unshare --mount --propagation private "$BASH" "$0" --inside "$@"
fi
shift

# The mount point PEER_ROOT must exist. A tmpfs covers it, so nothing is written to it.
root=$PEER_ROOT
mount -t tmpfs -o size=64m,mode=755 tmpfs "$root"
for path in /*; do
    case $path in
        /dev | /data | /scratch | /lost+found) ;;
        *)
            if [[ -L $path ]]; then
                cp -P "$path" "$root$path"
            elif [[ -d $path ]]; then
                mkdir "$root$path"
                mount --rbind "$path" "$root$path"
            fi
            ;;
    esac
done
mkdir "$root"/{dev,data,scratch,temporary,peer,certificates}
for node in 'null 3' 'zero 5' 'random 8' 'urandom 9'; do
    mknod -m 666 "$root/dev/${node% *}" c 1 "${node#* }"
done
: >"$root/dev/termination-log"

case $1 in
    target)
        mount --bind "$2" "$root/data"
        mount --bind "$(dirname "$3")" "$root/peer"
        # The certificates may be below /dev of the machine.
        mount --bind "$(dirname "$TLS_CERT_FILE")" "$root/certificates"
        for name in TLS_CERT_FILE TLS_KEY_FILE CLIENT_CERT_FILE; do
            export "$name=/certificates/${!name##*/}"
        done
        export DESTINATION=/data/disk.img
        exec chroot "$root" "/peer/$(basename "$3")"
        ;;
    source)
        if [[ $2 = fs ]]; then
            type=filesystem-clone mount=/data
        else
            type=blockdevice-clone mount=/dev/cdi-block-volume
            : >"$root$mount"
        fi
        mount --bind "$3" "$root$mount"
        mount --bind "$(dirname "$5")" "$root/peer"
        export TMPDIR=/temporary
        date +%s%N >"$6"
        exec chroot "$root" "/peer/$(basename "$5")" -content-type "$type" -mount "$mount" -upload-bytes "$4"
        ;;
esac
