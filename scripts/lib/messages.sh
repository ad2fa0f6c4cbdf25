# shellcheck shell=bash
# Sourced by the scripts in the parent directory: error messages and help.

die() {
    echo "${0##*/}: $*" >&2
    exit 2
}

# The comment at the start of a script is its help text.
show_help() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
}

# help_if_asked ARGUMENT...: prints the help text and exits if the first argument is -h or --help.
help_if_asked() {
    case ${1-} in -h | --help)
        show_help
        exit ;;
    esac
}
