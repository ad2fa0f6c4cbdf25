# shellcheck shell=bash
# Sourced by scripts/cluster.sh and scripts/on_cluster.sh: which programs the cluster runs, their version, and what differs
# between versions of Kubernetes.
#
# The programs are those that scripts/cluster/build.sh builds, or those of a directory that the user names with --kubernetes or
# DECANT_KUBERNETES. Such a directory may also have etcd, containerd (with its shim and ctr) and runc; they are preferred to
# those of Debian.

OLDEST_MINOR=20
# The newest version for which the tables below were checked. Later ones may work.
NEWEST_KNOWN_MINOR=36

# FIRST:LAST:FLAG: what kube-apiserver of the versions 1.FIRST to 1.LAST needs.
# shellcheck disable=SC2034  # flags_of gets the names of the tables
APISERVER_FLAGS=(
    # Data sources of any kind: later the default, and in the end the gate is unknown.
    20:23:--feature-gates=AnyVolumeDataSource=true
)
# shellcheck disable=SC2034
KUBELET_FLAGS=(
    # Without it these versions look for Docker. The flag does not exist since 1.27.
    20:23:--container-runtime=remote
)
# FIRST:LAST:CGROUP:LINE: lines of the kubelet's configuration, for hosts with this version of cgroups.
KUBELET_SETTINGS=(
    # The default of the last versions is true.
    "31:99:v1:failCgroupV1: false"
)
# FIRST:LAST:OLDEST:LIMIT: the oldest version of containerd that the kubelet works with, and the first later version that it
# does not work with, if there is one.
# shellcheck disable=SC2034  # check_program gets the names of the tables
CONTAINERD_VERSIONS=(
    # These use version v1alpha2 of the interface (CRI), which containerd 2.0 removed.
    20:22:1.4:2.0
    23:25:1.4:
    # CRI v1.
    26:36:1.6:
    # The call RuntimeConfig of CRI v1.
    37:99:2.0:
)
# The same for the API server and etcd.
# shellcheck disable=SC2034
ETCD_VERSIONS=(
    # The call RequestWatchProgress. Without it clients that stream lists, such as the kubelet, never get the end of a list.
    34:99:3.5.13:
)

# take_kubernetes_option DIRECTORY ARGUMENT...: sets DECANT_KUBERNETES to the absolute path that --kubernetes or this variable
# names, seen from the directory, and `arguments` to the other arguments.
take_kubernetes_option() {
    local from=$1
    shift
    while [[ $# -gt 0 ]]; do
        case $1 in
            --kubernetes)
                [[ ${2-} ]] || die "--kubernetes needs a directory; see --help"
                DECANT_KUBERNETES=$2
                shift
                ;;
            --kubernetes=*) DECANT_KUBERNETES=${1#*=} ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
    [[ ${DECANT_KUBERNETES-} ]] || return 0
    DECANT_KUBERNETES=$(cd "$from" && realpath -m "$DECANT_KUBERNETES")
    export DECANT_KUBERNETES
}

# supplied_directory DIR: the directory with the programs, for the directory of an unpacked release or one inside it.
supplied_directory() {
    local directory
    [[ -d $1 ]] || die "--kubernetes $1: no such directory"
    for directory in "$1" "$1/server/bin" "$1/kubernetes/server/bin"; do
        if [[ -e $directory/kube-apiserver ]]; then
            (cd "$directory" && pwd)
            return
        fi
    done
    die "--kubernetes $1: no kube-apiserver in it: name a directory with ${KUBERNETES_PROGRAMS[*]}," \
        "such as kubernetes/server/bin of an unpacked kubernetes-server-linux-amd64.tar.gz"
}

# select_programs: sets BIN, and PATH for the programs of Debian that a directory of the user may also contain.
select_programs() {
    BIN=$(programs_directory)
    is_built || PATH=$BIN:$PATH
}

# is_built: true unless the programs are those of a directory of the user.
is_built() { [[ $BIN = "$(kubernetes_directory)" ]]; }

# programs_directory: the directory of the programs: that of the cluster that runs, or that of the user, or the built one.
programs_directory() {
    if [[ -s ${CLUSTER-}/programs ]]; then
        cat "$CLUSTER/programs"
    elif [[ ${DECANT_KUBERNETES-} ]]; then
        supplied_directory "$DECANT_KUBERNETES"
    else
        kubernetes_directory
    fi
}

# program_version PROGRAM: the 1.36.2 of `Kubernetes v1.36.2-custom+4567`.
program_version() {
    local output
    output=$("$BIN/$1" --version 2>&1) || die "$BIN/$1 does not run: ${output%%$'\n'*}"
    [[ $output =~ v([0-9]+\.[0-9]+\.[0-9]+) ]] || die "$BIN/$1 --version prints no version: ${output%%$'\n'*}"
    echo "${BASH_REMATCH[1]}"
}

# check_programs: sets CLUSTER_VERSION, such as 1.36.2. Fails unless every program is there and all servers have this version.
check_programs() {
    local program version
    for program in "${KUBERNETES_PROGRAMS[@]}"; do
        [[ -e $BIN/$program ]] || die "no $program in $BIN: the cluster needs ${KUBERNETES_PROGRAMS[*]}"
        [[ -x $BIN/$program ]] || die "$BIN/$program is not executable: chmod +x $BIN/$program"
    done
    CLUSTER_VERSION=$(program_version kube-apiserver) || exit
    for program in "${KUBERNETES_PROGRAMS[@]}"; do
        # kubectl has no --version, and may be newer.
        [[ $program != kubectl ]] || continue
        version=$(program_version "$program") || exit
        [[ $version = "$CLUSTER_VERSION" ]] ||
            die "$BIN contains kube-apiserver $CLUSTER_VERSION and $program $version: use the programs of one release"
    done
    [[ $CLUSTER_VERSION = 1.* && $(minor) -ge $OLDEST_MINOR ]] ||
        die "Kubernetes $CLUSTER_VERSION is not supported: use 1.$OLDEST_MINOR or later"
    [[ $(minor) -le $NEWEST_KNOWN_MINOR ]] ||
        echo "${0##*/}: Kubernetes $CLUSTER_VERSION is newer than 1.$NEWEST_KNOWN_MINOR, the newest version that this script knows" >&2
}

# record_programs: for later calls, which need not name the directory again.
record_programs() {
    echo "$BIN" >"$CLUSTER/programs"
    echo "$CLUSTER_VERSION" >"$CLUSTER/version"
}

# The 36 of 1.36.2.
minor() {
    [[ ${CLUSTER_VERSION-} ]] || CLUSTER_VERSION=$(<"$CLUSTER/version")
    local rest=${CLUSTER_VERSION#*.}
    echo "${rest%%.*}"
}

# check_containerd_and_etcd: fails if the kubelet cannot use the installed containerd, or the API server the installed etcd.
check_containerd_and_etcd() {
    check_program containerd CONTAINERD_VERSIONS "containerd, containerd-shim-runc-v2 and ctr"
    check_program etcd ETCD_VERSIONS etcd
}

# check_program PROGRAM TABLE FILES: fails unless the program has a version of the table.
check_program() {
    local -n versions=$2
    local installed row first last oldest limit
    installed=$("$1" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)
    for row in "${versions[@]}"; do
        IFS=: read -r first last oldest limit <<<"$row"
        within "$first" "$last" || continue
        { at_least "$installed" "$oldest" && { [[ -z $limit ]] || ! at_least "$installed" "$limit"; }; } ||
            die "Kubernetes $CLUSTER_VERSION needs $1 $oldest or later${limit:+ and before $limit}, and" \
                "$(command -v "$1") is $installed: put $3 into $BIN"
    done
}

# within FIRST LAST: true if the cluster's minor version is one of these.
within() { [[ $(minor) -ge $1 && $(minor) -le $2 ]]; }

# at_least VERSION OLDEST
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) = "$2" ]]; }

# flags_of TABLE: the flags of a table that the version needs, one a line.
flags_of() {
    local -n table=$1
    local row first last flag
    for row in "${table[@]}"; do
        IFS=: read -r first last flag <<<"$row"
        ! within "$first" "$last" || echo "$flag"
    done
}

# kubelet_settings: the lines of KUBELET_SETTINGS for the version and this host.
kubelet_settings() {
    local row first last cgroup line
    for row in "${KUBELET_SETTINGS[@]}"; do
        IFS=: read -r first last cgroup line <<<"$row"
        ! { within "$first" "$last" && [[ $cgroup = "$(cgroup_version)" ]]; } || echo "$line"
    done
}

# cgroup_version: v2 only if all controllers are in the unified hierarchy.
cgroup_version() {
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then echo v2; else echo v1; fi
}
