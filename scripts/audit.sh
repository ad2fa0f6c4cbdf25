#!/usr/bin/env bash
# Looks for known vulnerabilities in all dependencies: cargo-deny with the RustSec advisory database.
#
#   scripts/audit.sh              fetches the database, then checks
#   scripts/audit.sh --db DIR     uses DIR, a git clone of the database; needs no network
#
# If the database cannot be fetched, the copy of an earlier run is used and its age is shown. Without a copy the script
# fails: an audit that did not happen must not look like one that found nothing. deny.toml lists exceptions with reasons.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh

# cargo-deny's default; with --db, git takes the same address from the local clone instead.
address=https://github.com/RustSec/advisory-db
help_if_asked "$@"
db=
case ${1-} in
    '') ;;
    --db)
        [[ $# -eq 2 && -d $2 ]] || die "--db needs a directory with a git clone"
        db=$(cd "$2" && git rev-parse --absolute-git-dir) || die "$2 is not a git clone"
        ;;
    *) die "unknown argument $1; see --help" ;;
esac

# Checks use a copy of deny.toml with the path of the database, so that deny.toml itself contains no path.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/decant/advisories
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[[ $db ]] && cache=$scratch/advisories
mkdir -p "$cache"
sed "s|^\[advisories\]$|&\ndb-path = \"$cache\"\ngit-fetch-with-cli = true|" deny.toml >"$scratch/deny.toml"

# check DIRECTORY ARGUMENT...: checks the lock file in DIRECTORY.
check() {
    local directory=$1
    shift
    cargo deny --manifest-path "$directory/Cargo.toml" --locked --config "$scratch/deny.toml" check "$@" advisories
}

if [[ $db ]]; then
    # Only for this process. The clone may belong to another user: it is only read.
    export GIT_CONFIG_COUNT=2
    export GIT_CONFIG_KEY_0=url.$db.insteadOf GIT_CONFIG_VALUE_0=$address
    export GIT_CONFIG_KEY_1=safe.directory GIT_CONFIG_VALUE_1='*'
    echo "advisories of $(git --git-dir "$db" log -1 --format=%cs)"
    # The clone may be older than an advisory for which deny.toml has an exception.
    check . --allow advisory-not-detected
elif cargo deny --config "$scratch/deny.toml" fetch db; then
    check . --disable-fetch
else
    copy=$(find "$cache" -mindepth 1 -maxdepth 1 -name 'advisory-db-*' | head -n 1)
    [[ $copy ]] || die "the database cannot be fetched and there is no earlier copy; see --db"
    echo "the database cannot be fetched; using the copy of $(git -C "$copy" log -1 --format=%cs)" >&2
    check . --disable-fetch
fi
