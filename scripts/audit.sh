#!/usr/bin/env bash
# Looks for known defects in everything that Decant is built from: cargo-deny against the RustSec database.
#
#   scripts/audit.sh              fetches the database, then checks
#   scripts/audit.sh --db DIR     takes it from DIR, a git clone of the database; no network is needed
#
# When the database cannot be fetched, a copy that an earlier run left is used, and its age is shown. Without
# one the script fails: "not looked" is not "nothing found". Exceptions stand in deny.toml, with reasons.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh

# cargo-deny's default; with --db, git takes the same address from the local clone instead.
address=https://github.com/RustSec/advisory-db
db=
case ${1-} in
    '') ;;
    --db)
        [[ $# -eq 2 && -d $2 ]] || die "--db needs the directory of a clone"
        db=$(cd "$2" && git rev-parse --absolute-git-dir) || die "$2 is no git clone"
        ;;
    -h | --help)
        show_help
        exit
        ;;
    *) die "unknown argument $1; see --help" ;;
esac

# A copy of the configuration that says where the database is kept, so that deny.toml needs no path.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/decant/advisories
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[[ $db ]] && cache=$scratch/advisories
mkdir -p "$cache"
sed "s|^\[advisories\]$|&\ndb-path = \"$cache\"\ngit-fetch-with-cli = true|" deny.toml >"$scratch/deny.toml"

# check DIRECTORY ARGUMENT...: one lock file.
check() {
    local directory=$1
    shift
    cargo deny --manifest-path "$directory/Cargo.toml" --locked --config "$scratch/deny.toml" check "$@" advisories
}

if [[ $db ]]; then
    # Only for this process: who owns the clone does not matter for reading it.
    export GIT_CONFIG_COUNT=2
    export GIT_CONFIG_KEY_0=url.$db.insteadOf GIT_CONFIG_VALUE_0=$address
    export GIT_CONFIG_KEY_1=safe.directory GIT_CONFIG_VALUE_1='*'
    echo "advisories of $(git --git-dir "$db" log -1 --format=%cs)"
    # A copy may be older than the advisory that an exception is about.
    check . --allow advisory-not-detected
elif cargo deny --config "$scratch/deny.toml" fetch db; then
    check . --disable-fetch
else
    copy=$(find "$cache" -mindepth 1 -maxdepth 1 -name 'advisory-db-*' | head -n 1)
    [[ $copy ]] || die "the database cannot be fetched and there is no earlier copy; see --db"
    echo "the database cannot be fetched; using the copy of $(git -C "$copy" log -1 --format=%cs)" >&2
    check . --disable-fetch
fi
