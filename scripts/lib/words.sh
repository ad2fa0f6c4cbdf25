# shellcheck shell=bash
# Sourced by the scripts beside this folder: how they complain and how they show their help.

die() {
    echo "${0##*/}: $*" >&2
    exit 2
}

# The comment at the head of a script is its help.
show_help() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
}
