# shellcheck shell=bash
# Entering the private environment with bubblewrap.
#
# Inside, the environment's folders are read-only under a root of its own, /tmp, /run and the home
# are private to the run, and the checkout, the cache and the caller's directory are at their own
# paths. Processes have a namespace of their own: nothing outlives the run.
#
# Uses of ./run's variables: checkout, cache, env_root, caller_directory, output_directory,
# shown_directories.
# shellcheck disable=SC2154

readonly sandbox_output=/run/stepscope/output

# Paths that belong to the environment: a directory of the machine cannot be shown there.
is_system_directory() {
    case $1/ in
    / | // | /usr/ | /run/ | /tmp/ | /var/) return 0 ;;
    /usr/src/* | /usr/local/*) return 1 ;;
    /usr/* | /etc/* | /bin/* | /sbin/* | /lib/* | /lib32/* | /lib64/* | /proc/* | /sys/* | /dev/* | \
        /var/cache/* | /var/lib/dpkg/*) return 0 ;;
    *) return 1 ;;
    esac
}

# Sets sandbox_options. $1: "display" passes the machine's display, sound and buses through.
collect_sandbox_options() {
    local name runtime=/run/user/$EUID
    sandbox_options=(--die-with-parent --unshare-uts --hostname stepscope --dir /usr)
    # The parts of /usr one by one, so that a checkout below /usr/src or /usr/local has a place.
    for name in "$env_root"/usr/*; do
        case ${name##*/} in
        src | local) ;;
        *) sandbox_options+=(--ro-bind "$name" "/usr/${name##*/}") ;;
        esac
    done
    for name in bin sbin lib lib32 lib64; do
        [[ -L $env_root/$name ]] && sandbox_options+=(--symlink "usr/$name" "/$name")
    done
    sandbox_options+=(--ro-bind "$env_root/etc" /etc
        --dir /var/tmp --dir /var/lib
        --ro-bind "$env_root/var/cache" /var/cache
        --ro-bind "$env_root/var/lib/dpkg" /var/lib/dpkg
        --dev-bind /dev /dev --ro-bind /sys /sys
        --perms 1777 --tmpfs /tmp --tmpfs /run --symlink /run /var/run
        --perms 0700 --dir "$runtime" --perms 0700 --dir /tmp/home)
    if ((sandbox_own_processes)); then
        sandbox_options+=(--unshare-pid --proc /proc)
    else
        sandbox_options+=(--ro-bind /proc /proc)
    fi
    # The kernel of the virtual machine; its modules are in /usr/lib. /dev/kvm comes with /dev.
    [[ -d $env_root/boot ]] && sandbox_options+=(--ro-bind "$env_root/boot" /boot)
    # The machine's name service and users, so that programs know who runs them.
    for name in /etc/passwd /etc/group /etc/hosts /etc/resolv.conf; do
        [[ -e $name && -f $env_root$name && ! -L $env_root$name ]] &&
            sandbox_options+=(--ro-bind "$(readlink -f "$name")" "$name")
    done
    if [[ $caller_directory/ != "$checkout"/* ]] && ! is_system_directory "$caller_directory"; then
        sandbox_options+=(--bind "$caller_directory" "$caller_directory")
    fi
    sandbox_options+=(--bind "$cache" "$cache" --bind "$checkout" "$checkout")
    for name in "${shown_directories[@]}"; do
        sandbox_options+=(--bind "$name" "$name")
    done
    if [[ -n $output_directory ]]; then
        # At a path of its own: the directory may be /tmp, which is private inside.
        sandbox_options+=(--bind "$output_directory" "$sandbox_output"
            --setenv STEPSCOPE_OUTPUT "$sandbox_output/${STEPSCOPE_OUTPUT##*/}")
    fi
    if [[ $1 == display ]]; then
        collect_display_options "$runtime"
    fi
}

# What a window on the machine's own screen and its sound need, for `./run shell`.
collect_display_options() { # RUNTIME-DIRECTORY-INSIDE
    local socket
    if [[ -n ${WAYLAND_DISPLAY:-} && -n ${XDG_RUNTIME_DIR:-} ]]; then
        socket=$WAYLAND_DISPLAY
        [[ $socket == /* ]] || socket=$XDG_RUNTIME_DIR/$socket
        if [[ -S $socket ]]; then
            sandbox_options+=(--bind "$socket" "$1/host-wayland"
                --setenv WAYLAND_DISPLAY "$1/host-wayland")
        fi
    fi
    if [[ -n ${DISPLAY:-} ]]; then
        socket=/tmp/.X11-unix/X$(sed -e 's/^[^:]*://' -e 's/\..*//' <<<"$DISPLAY")
        [[ -S $socket ]] && sandbox_options+=(--bind "$socket" "$socket")
        if [[ -f ${XAUTHORITY:-$HOME/.Xauthority} ]]; then
            sandbox_options+=(--ro-bind "${XAUTHORITY:-$HOME/.Xauthority}" /run/stepscope/xauthority
                --setenv XAUTHORITY /run/stepscope/xauthority)
        fi
    fi
    for socket in pipewire-0 pulse/native; do
        if [[ -n ${XDG_RUNTIME_DIR:-} && -S $XDG_RUNTIME_DIR/$socket ]]; then
            sandbox_options+=(--bind "$XDG_RUNTIME_DIR/$socket" "$1/$socket")
        fi
    done
}

# Finds out how much isolation this machine allows, and says what to do where it allows none.
probe_sandbox() {
    have bwrap || require_private_tools
    local error
    sandbox_own_processes=1
    if error=$(bwrap --ro-bind / / --dev-bind /dev /dev --unshare-uts --unshare-pid --proc /proc \
        true 2>&1); then
        return
    fi
    sandbox_own_processes=0
    if bwrap --ro-bind / / --dev-bind /dev /dev --unshare-uts true 2>/dev/null; then
        say "warning: this machine allows no process namespace (${error##*bwrap: });" \
            "programs that ignore their end may outlive the run"
        return
    fi
    if ((EUID == 0)); then
        die "bubblewrap cannot set up a private root here (${error##*bwrap: }); in a container" \
            "start it with the capability SYS_ADMIN (docker run --cap-add SYS_ADMIN" \
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
    fi
    die "this machine forbids user namespaces to ordinary users (${error##*bwrap: });" \
        "allow them (sysctl kernel.unprivileged_userns_clone=1, or on Ubuntu" \
        "kernel.apparmor_restrict_unprivileged_userns=0) or run as root"
}

# Runs COMMAND inside the environment and ends with its exit status.
run_in_sandbox() { # display|plain COMMAND…
    local mode=$1 directory=$caller_directory status=0
    shift
    probe_sandbox
    collect_sandbox_options "$mode"
    if is_system_directory "$directory"; then
        [[ $mode == plain ]] ||
            say "note: $directory of this machine is not shown inside; starting in $checkout"
        directory=$checkout
    fi
    # An interrupt is for the command, which ends in its own way: this shell and bwrap ignore it,
    # and env gives the command the default back. The shell stays as bwrap's parent, so that the
    # run ends with it and not with whoever called ./run.
    trap '' INT
    # What the machine's compilers and libraries are told is wrong for the environment's.
    local name
    for name in CC CXX CPP CFLAGS CXXFLAGS CPPFLAGS LDFLAGS CPATH C_INCLUDE_PATH \
        CPLUS_INCLUDE_PATH LIBRARY_PATH LD_LIBRARY_PATH LD_PRELOAD PKG_CONFIG_PATH PYTHONPATH \
        PYTHONHOME GI_TYPELIB_PATH GST_PLUGIN_PATH GST_PLUGIN_SYSTEM_PATH GST_REGISTRY LC_ALL \
        TMPDIR DBUS_SESSION_BUS_ADDRESS XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME \
        XDG_DATA_DIRS XDG_CONFIG_DIRS VIRTUAL_ENV; do
        sandbox_options+=(--unsetenv "$name")
    done
    bwrap "${sandbox_options[@]}" --chdir "$directory" \
        --setenv HOME /tmp/home --setenv XDG_RUNTIME_DIR "/run/user/$EUID" \
        --setenv PATH /usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin \
        --setenv LANG C.UTF-8 \
        -- env --default-signal=INT "$@" || status=$?
    exit "$status"
}
