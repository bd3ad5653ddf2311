#!/usr/bin/env bash
# What ./run starts in the environment, native or private: builds, then runs a word.
# Takes from ./run: STEPSCOPE_CACHE, STEPSCOPE_ENV_ID, STEPSCOPE_BUILD.
set -euo pipefail

checkout=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
# shellcheck source=tools/common.sh
. "$checkout/tools/common.sh"

export CCACHE_DIR=$STEPSCOPE_CACHE/ccache
export CCACHE_BASEDIR=$checkout
export CCACHE_NOHASHDIR=1

# Programs, elements, libraries and Python modules of the build, in front of everything else.
use_built_tree() {
    local build=$STEPSCOPE_BUILD
    export PATH=$build/compositor:$build/steam:$build/agent:$checkout/agent:$PATH:/usr/games
    export GST_PLUGIN_PATH=$build/elements${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}
    export GST_REGISTRY=$build/gst-registry-$STEPSCOPE_ENV_ID.bin
    export LD_LIBRARY_PATH=$build/gst${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export GI_TYPELIB_PATH=$build/gst${GI_TYPELIB_PATH:+:$GI_TYPELIB_PATH}
    export PYTHONPATH=$checkout/agent${PYTHONPATH:+:$PYTHONPATH}
    export PYTHONDONTWRITEBYTECODE=1
}

# The private environment gives each run a runtime directory of its own; natively it is made here.
with_private_runtime_directory() {
    if [[ $STEPSCOPE_ENV_ID == private-* ]]; then
        exec "$@"
    fi
    local directory status=0
    directory=$(mktemp -d "${TMPDIR:-/tmp}/stepscope-run.XXXXXX")
    # The command gets an interrupt too and ends in its own way; the directory goes after it.
    trap : INT
    (
        trap - INT
        exec env "XDG_RUNTIME_DIR=$directory" "$@"
    ) || status=$?
    rm -rf -- "$directory"
    exit "$status"
}

build() {
    python3 "$checkout/tools/build.py" "$STEPSCOPE_BUILD"
}

cd_to_checkout() {
    cd -- "$checkout"
}

word=$1
shift
case $word in
demo)
    build
    use_built_tree
    with_private_runtime_directory python3 "$checkout/pipelines/demo.py" \
        --output "$STEPSCOPE_OUTPUT" "$@"
    ;;
shell)
    build
    use_built_tree
    if (($#)); then
        # A desktop session's own directory has its sockets; without one, a private one is made.
        [[ -z ${XDG_RUNTIME_DIR:-} ]] || exec "$@"
        with_private_runtime_directory "$@"
    fi
    say "a shell with the built tree; leave it with exit"
    exec bash --rcfile <(echo "PS1='(stepscope) \w\$ '") -i
    ;;
vm)
    build
    use_built_tree
    with_private_runtime_directory python3 "$checkout/tools/vm/vm.py" "$@"
    ;;
test | lint)
    cd_to_checkout
    build
    use_built_tree
    [[ $word == lint ]] && set -- --lint-only
    with_private_runtime_directory python3 tests/run_tests.py "$@"
    ;;
bench)
    [[ -e $checkout/bench/run_bench.py ]] || die "this checkout has no benchmarks (bench/run_bench.py)"
    build
    use_built_tree
    if [[ ${1-} == steps ]]; then
        shift
        with_private_runtime_directory python3 "$checkout/bench/run_step_bench.py" "$@"
    elif [[ ${1-} == pipewire ]]; then
        shift
        with_private_runtime_directory python3 "$checkout/bench/run_pipewire_bench.py" "$@"
    else
        with_private_runtime_directory python3 "$checkout/bench/run_bench.py" "$@"
    fi
    ;;
*) die_usage "inside.sh: unknown word '$word'" ;;
esac
