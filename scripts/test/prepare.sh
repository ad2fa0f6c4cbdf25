#!/usr/bin/env bash
# Builds in advance what the last steps of scripts/test.sh need: both static programs and their images, as root Kubernetes, the two
# images whose digests must be equal, the image for arm64, the fuzz targets.
#
#   scripts/test/prepare.sh DIRECTORY      writes JOB.log and then JOB.status, the exit status, to DIRECTORY for each job
#
# scripts/test.sh starts this script at the lowest priority while the first steps run. No job uses the target directory of these
# steps, so none waits for Cargo's lock. Only the result of `reproduce` is used. The other jobs are builds that their steps repeat:
# a step then has nothing left to build, or reports the failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
help_if_asked "$@"

# job NAME COMMAND...: runs the command and writes its log and its status.
job() {
    local status=0
    "${@:2}" >"$directory/$1.log" 2>&1 || status=$?
    echo "$status" >"$directory/$1.new"
    mv "$directory/$1.new" "$directory/$1.status"
}

directory=${1:?see --help}
# Where the kernel groups processes by session, a priority only counts within the session. This is the session of the background jobs.
{ echo 19 >/proc/self/autogroup; } 2>/dev/null || true
# In the order in which the steps need them.
job image scripts/image.sh
[[ $EUID -ne 0 ]] || job kubernetes scripts/cluster.sh setup
job reproduce scripts/reproduce.sh
job arm64 scripts/arm64.sh --build
job fuzz scripts/fuzz.sh --build
