#!/usr/bin/env bash
# Builds ahead what the last steps of scripts/test.sh need: both static programs and their images, the fuzz targets, the
# two images that must have one digest, the image for arm64.
#
#   scripts/test/prepare.sh DIRECTORY      writes JOB.log and then JOB.status, the exit status, to DIRECTORY for each job
#
# scripts/test.sh starts it at the lowest priority, while the first steps run. No job uses the target directory of these
# steps, so that none waits for Cargo's lock. Only the result of `reproduce` counts. The other jobs are builds that their
# step repeats: it finds them done, or reports the failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh
help_if_asked "$@"

# job NAME COMMAND...
job() {
    local status=0
    "${@:2}" >"$directory/$1.log" 2>&1 || status=$?
    echo "$status" >"$directory/$1.new"
    mv "$directory/$1.new" "$directory/$1.status"
}

directory=${1:?see --help}
# In the order in which the steps need them.
job image scripts/image.sh
job reproduce scripts/reproduce.sh
job arm64 scripts/arm64.sh --build
job fuzz scripts/fuzz.sh --build
