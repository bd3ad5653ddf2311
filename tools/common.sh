# shellcheck shell=bash
# Messages and progress for ./run and what it sources. Everything for people goes to standard
# error, so that the output of `./run shell -- CMD` is CMD's alone.

say() {
    printf 'stepscope: %s\n' "$*" >&2
}

die() {
    printf 'stepscope: error: %s\n' "$*" >&2
    exit 1
}

die_usage() {
    printf 'stepscope: error: %s (see ./run --help)\n' "$*" >&2
    exit 2
}

# One line that is rewritten in place on a terminal. Elsewhere (a CI log) a line is written when
# the phase changes and then every 30 seconds.
progress_phase=''
progress_shown_at=0
progress() { # PHASE DETAIL (appended as it is)
    if [[ -t 2 ]]; then
        printf '\r\033[Kstepscope: %s%s' "$1" "$2" >&2
    elif [[ $1 != "$progress_phase" ]] || ((SECONDS - progress_shown_at >= 30)); then
        say "$1$2"
        progress_shown_at=$SECONDS
    fi
    progress_phase=$1
}

progress_end() {
    if [[ -t 2 ]]; then
        printf '\r\033[K' >&2
    fi
    progress_phase=''
}

have() {
    command -v "$1" >/dev/null 2>&1
}
