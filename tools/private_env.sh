# shellcheck shell=bash
# The private environment: a Debian userland in the cache folder, made by mmdebstrap, for
# machines whose own packages are too old. Nothing of it is installed on the machine.
#
# Uses of ./run's variables: checkout, cache, native_reason. Sets: env_root, env_id.
# shellcheck disable=SC2154,SC2034
#
# It is built in a sibling directory and renamed when complete, so a directory of the final name
# with a stamp in it is a finished one.

readonly env_suite=forky
readonly env_recipe=1 # raise it when the way of building changes what comes out
readonly env_stamp=.stepscope-complete
readonly env_needed_mib=6144
readonly env_key_files=(usr/bin/g++ usr/bin/meson usr/bin/ninja usr/bin/python3 usr/bin/Xwayland
    usr/bin/gst-launch-1.0 usr/bin/qemu-system-x86_64 usr/games/chocolate-doom)

env_packages() {
    sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$checkout/tools/packages-$env_suite.txt" |
        LC_ALL=C sort -u
}

env_hash() {
    { env_packages; echo "suite=$env_suite recipe=$env_recipe"; } | sha256sum | cut -c1-16
}

# Prints what is wrong with the environment in $1; nothing if it is whole.
env_defect() {
    local file
    if [[ ! -e $1/$env_stamp ]]; then
        echo "it was never finished"
        return
    fi
    for file in "${env_key_files[@]}"; do
        # Absolute links point into the environment, not at this machine's files.
        if [[ ! -e $1/$file && ! -L $1/$file ]]; then
            echo "/$file is missing in it"
            return
        fi
    done
}

# The commands that make and enter the environment. Root on an apt system gets them installed;
# everybody else is told the command.
require_private_tools() {
    local missing=()
    have mmdebstrap || missing+=(mmdebstrap)
    have bwrap || missing+=(bubblewrap)
    if ((EUID != 0)) && ! have newuidmap; then
        missing+=(uidmap)
    fi
    if have apt-get && [[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]]; then
        missing+=(debian-archive-keyring)
    fi
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        if have apt-get; then
            die "missing: ${missing[*]}; install with: sudo apt-get install ${missing[*]}"
        elif have dnf; then
            die "missing: ${missing[*]}; install with: sudo dnf install mmdebstrap bubblewrap" \
                "shadow-utils debian-keyring"
        fi
        die "missing: ${missing[*]}; install them with your package manager"
    fi
    have apt-get || die "missing: ${missing[*]}; install them with your package manager"
    say "installing with apt-get on this machine: ${missing[*]}"
    local log=$cache/apt-get.log
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
        --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "apt-get could not install ${missing[*]}; the full log is $log"
    fi
}

# mmdebstrap for an ordinary user needs a range of subordinate user ids.
require_subordinate_ids() {
    ((EUID == 0)) && return
    local user file
    user=$(id -un)
    for file in /etc/subuid /etc/subgid; do
        if ! grep -qsE "^($user|$EUID):[0-9]+:[0-9]{5,}" "$file"; then
            die "$user has no range of 65536 ids in $file, which building as an ordinary user" \
                "needs; add one with: sudo usermod --add-subuids 200000-265535" \
                "--add-subgids 200000-265535 $user"
        fi
    done
}

require_disk_space() { # DIRECTORY WHAT
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    if ((free < env_needed_mib)); then
        die "$1 has $free MiB free, $2 needs $env_needed_mib MiB;" \
            "free some or name another folder with STEPSCOPE_CACHE"
    fi
}

# Where this machine gets Debian from, if it is a Debian machine that does not use the default.
host_mirror() {
    have apt-get || return 0
    # shellcheck disable=SC2016 # apt expands these
    apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
        awk '$1 == "Packages" && $2 == "Debian" && $3 == "main" && $4 !~ /security|deb\.debian\.org/ {
                 print $4; exit }' || true
}

host_apt_proxy() {
    have apt-config || return 0
    local proxy=''
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    printf '%s' "$proxy"
}

# Where mmdebstrap is, from its log: "unpacking, 310 of 883 packages".
build_phase() { # LOG
    awk '
        /^I: (downloading|installing)/ { fetched = unpacked = ready = total = 0; phase = "" }
        /^I: cleaning/ { phase = "cleaning up" }
        / newly installed/ { match($0, /[0-9]+ newly/); total = substr($0, RSTART) + 0 }
        /^Get:/ { fetched++; phase = "downloading"; count = fetched }
        /^Unpacking / { unpacked++; phase = "unpacking"; count = unpacked }
        /^Setting up / { ready++; phase = "setting up"; count = ready }
        END {
            if (phase == "") { print "reading package lists" }
            else if (phase == "cleaning up") { print phase }
            else { printf "%s, %d%s packages\n", phase, count, total ? " of " total : "" }
        }' "$1" 2>/dev/null || true
}

# Follows the log of mmdebstrap until process $1 ends.
show_build_progress() { # PID LOG
    local phase
    while kill -0 "$1" 2>/dev/null; do
        phase=$(build_phase "$2")
        progress "environment: ${phase%%,*}" \
            "${phase#"${phase%%,*}"} ($((SECONDS - build_started)) s)"
        sleep 1
    done
    progress_end
}

# Runs mmdebstrap into directory $1; its output goes to the log $2.
run_mmdebstrap() { # TARGET LOG [OPTION…]
    local target=$1 log=$2 proxy mirror packages status=0
    shift 2
    proxy=$(host_apt_proxy)
    mirror=$(host_mirror)
    packages=$(env_packages | paste -sd,)
    local options=(--verbose --variant=apt "--include=$packages" "$@")
    if [[ -n $proxy ]]; then
        options+=("--aptopt=Acquire::http::Proxy \"$proxy\"")
    fi
    # Mounts of its own as root, so that none is left behind whatever happens to it.
    local isolate=()
    if ((EUID == 0)) && unshare --mount --propagation private true 2>/dev/null; then
        isolate=(unshare --mount --propagation private)
    fi
    # A process group of its own, so that giving up can end all of it.
    set -m
    (
        if ((EUID == 0)); then
            "${isolate[@]}" mmdebstrap --mode=root --format=directory "${options[@]}" "$env_suite" "$target" \
                ${mirror:+"$mirror"} 2>"$log" >&2 </dev/null
        else
            # A tarball, unpacked as the user: the tree then belongs to the user alone, and the
            # home directory need not be open to the subordinate ids.
            set -o pipefail
            TMPDIR=/var/tmp mmdebstrap --mode=unshare --format=tar "${options[@]}" "$env_suite" - \
                ${mirror:+"$mirror"} 2>"$log" </dev/null |
                tar -x --no-same-owner --exclude='./dev/*' -C "$target" 2>>"$log.tar"
        fi
    ) &
    build_pid=$!
    set +m
    show_build_progress "$build_pid" "$log"
    wait "$build_pid" || status=$?
    build_pid=''
    return "$status"
}

remove_tree() {
    local mountpoint
    if ((EUID == 0)); then
        # A build that was killed may have left mounts in the tree; never walk into those.
        while read -r _ mountpoint _; do
            [[ $mountpoint != "$1"/* ]] || umount -l -- "$mountpoint"
        done </proc/self/mounts
    else
        chmod -R u+rwX -- "$1" 2>/dev/null || true
    fi
    rm -rf --one-file-system -- "$1"
}

abandon_build() {
    trap - INT TERM
    progress_end
    if [[ -n ${build_pid:-} ]]; then
        kill -TERM -- "-$build_pid" 2>/dev/null || true
        wait "$build_pid" 2>/dev/null || true
        kill -KILL -- "-$build_pid" 2>/dev/null || true
    fi
    say "interrupted; removing the half-built environment"
    if [[ -n ${build_target:-} && -d $build_target ]]; then
        remove_tree "$build_target"
    fi
    exit 130
}

build_private_env() { # DIRECTORY
    local directory=$1 log=$cache/env-build.log
    build_started=$SECONDS
    build_target=$directory.partial.$$
    require_private_tools
    require_subordinate_ids
    require_disk_space "$cache" "building the environment"
    ((EUID == 0)) || require_disk_space /var/tmp "unpacking the environment"
    say "this machine's packages are too old (${native_reason:-STEPSCOPE_ENV=private})," \
        "so a private Debian $env_suite is prepared once in $directory" \
        "(about 4 GB, a few minutes)"
    mkdir -p "$build_target"
    trap abandon_build INT TERM
    if ! run_mmdebstrap "$build_target" "$log"; then
        if grep -qE 'Release file .* is (expired|not valid yet)' "$log"; then
            say "warning: the mirror's index is out of date (its validity has expired);" \
                "going on with it, signatures are still verified"
            remove_tree "$build_target"
            mkdir -p "$build_target"
            if ! run_mmdebstrap "$build_target" "$log" \
                '--aptopt=Acquire::Check-Valid-Until "false"'; then
                report_failed_build "$log"
            fi
        else
            report_failed_build "$log"
        fi
    fi
    date -u +%Y-%m-%dT%H:%M:%SZ >"$build_target/$env_stamp"
    local defect
    defect=$(env_defect "$build_target")
    [[ -z $defect ]] || report_failed_build "$log" "$defect"
    sync -f "$build_target" 2>/dev/null || true
    mv -T "$build_target" "$directory"
    trap - INT TERM
    say "environment ready after $((SECONDS - build_started)) s"
}

report_failed_build() { # LOG [WHY]
    grep -E '^(E|W|Err):' "$1" | tail -n 8 >&2 || true
    tail -n 8 "$1" >&2 || true
    remove_tree "$build_target"
    die "the environment could not be built${2:+ ($2)}; the full log is $1"
}

# Sets env_root and env_id; succeeds if that environment exists and is whole.
private_env_is_ready() {
    env_id=private-$(env_hash)
    env_root=$cache/env-${env_id#private-}
    [[ -d $env_root && -z $(env_defect "$env_root") ]]
}

# Makes sure that the environment exists.
prepare_private_env() {
    private_env_is_ready && return
    local lock defect
    exec {lock}>"$cache/env.lock"
    if ! flock -n "$lock"; then
        say "another run is preparing the environment; waiting for it"
        flock "$lock"
    fi
    if [[ -d $env_root ]]; then
        defect=$(env_defect "$env_root")
        if [[ -n $defect ]]; then
            say "the environment in $env_root is damaged ($defect); building it again"
            remove_tree "$env_root"
        fi
    fi
    # What a killed run left: under the lock nobody is building.
    local leftover
    for leftover in "$cache"/env-*.partial.*; do
        [[ -d $leftover ]] || continue
        say "removing a half-built environment, $leftover"
        remove_tree "$leftover"
    done
    if [[ ! -d $env_root ]]; then
        build_private_env "$env_root"
        local others
        others=$(list_environments | grep -vxF "$env_root" || true)
        if [[ -n $others ]]; then
            say "older environments are still there: ${others//$'\n'/ }; ./run clean removes them"
        fi
    fi
    exec {lock}>&-
}

list_environments() {
    local directory
    for directory in "$cache"/env-*; do
        [[ -d $directory ]] && printf '%s\n' "$directory"
    done
    return 0
}
