# shellcheck shell=bash
# The machine's own packages, where the distribution is new enough. Nothing is installed here:
# what is missing is named together with the command that installs it.
#
# Uses of ./run's variables: checkout. Sets: native_reason.
# shellcheck disable=SC2154,SC2034

# Succeeds if version $1 is at least $2.
version_at_least() {
    [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

version_of_program() {
    case $1 in
    g++) g++ -dumpfullversion ;;
    *) "$1" --version ;;
    esac 2>/dev/null | head -n 1 | grep -oE '[0-9]+(\.[0-9]+)+' | tail -n 1
}

# Prints why this machine's own packages will not do; nothing if they will. What is asked is what
# the distribution offers, installed or not: missing packages are named later.
native_obstacle() {
    if ! have pkg-config || ! pkg-config --exists wlroots-0.20; then
        [[ -n $(wlroots_in_repositories) ]] || echo "no wlroots 0.20"
    elif ! pkg-config --atleast-version=1.28 gstreamer-1.0; then
        echo "no GStreamer 1.28"
    elif ! have meson || ! version_at_least "$(version_of_program meson)" 1.3; then
        echo "no meson 1.3"
    elif ! have g++ || ! printf '%s\n' '#include <expected>' 'std::expected<int, int> e;' |
        g++ -std=c++23 -fsyntax-only -x c++ - 2>/dev/null; then
        echo "no g++ with C++23"
    fi
}

# The version of wlroots 0.20 that the distribution could install, if it has one.
wlroots_in_repositories() {
    if have apt-cache; then
        apt-cache policy libwlroots-0.20-dev 2>/dev/null |
            sed -n 's/^  Candidate: \([0-9].*\)/\1/p'
    elif have pacman; then
        pacman -Si wlroots0.20 2>/dev/null | sed -n 's/^Version *: //p'
    fi
}

# Whether the requirement is there: KIND NAME MINIMUM
native_has() {
    case $1 in
    program)
        PATH=$PATH:/usr/games have "$2" &&
            { [[ $3 == - ]] || version_at_least "$(version_of_program "$2")" "$3"; }
        ;;
    pkg)
        if [[ $3 == - ]]; then pkg-config --exists "$2"; else
            pkg-config --atleast-version="$3" "$2"
        fi 2>/dev/null
        ;;
    gst) gst-inspect-1.0 --exists "$2" 2>/dev/null ;;
    python) python3 -c "import $2" 2>/dev/null ;;
    file) [[ -n $(find /usr/include /usr/share/vulkan -name "$2" -print -quit 2>/dev/null) ]] ;;
    *) die "tools/native_packages.txt: unknown kind '$1'" ;;
    esac
}

# Ends the run if something required is missing, with the command that installs it.
require_native_packages() {
    local column install
    if have apt-get; then
        column=1 install='sudo apt-get install'
    elif have dnf; then
        column=2 install='sudo dnf install'
    elif have pacman; then
        column=3 install='sudo pacman -S'
    else
        column=0 install=''
    fi
    local kind name minimum apt dnf pacman optional missing=() packages=() package
    while read -r kind name minimum apt dnf pacman optional; do
        [[ -z $kind || $kind == \#* ]] && continue
        native_has "$kind" "$name" "$minimum" && continue
        [[ $optional == optional ]] && continue
        missing+=("$name$([[ $minimum == - ]] || printf ' >= %s' "$minimum") ($kind)")
        case $column in
        1) package=$apt ;; 2) package=$dnf ;; 3) package=$pacman ;; *) package=- ;;
        esac
        [[ $package == - ]] || packages+=("$package")
    done <"$checkout/tools/native_packages.txt"
    ((${#missing[@]})) || return 0
    {
        echo "stepscope: error: this machine lacks:"
        printf '    %s\n' "${missing[@]}"
        if ((${#packages[@]})); then
            echo "install with: $install $(printf '%s\n' "${packages[@]}" | sort -u | paste -sd' ')"
        fi
        echo "or let ./run prepare a private environment: STEPSCOPE_ENV=private ./run …"
    } >&2
    exit 1
}

# Sets env_id: the build is configured anew when a compiler or a library of the machine changes.
prepare_native_env() {
    require_native_packages
    env_root=''
    env_id=native-$({ g++ --version; meson --version; pkg-config --modversion wlroots-0.20 \
        gstreamer-1.0 wayland-server; } | sha256sum | cut -c1-16)
}
