#!/usr/bin/env bash
# Records picture and sound of a game in lock-step: every frame at its exact time, the sound to the
# sample, however slow the encoder is.
set -euo pipefail

if (($# < 5)) || [[ $4 != -- ]]; then
    echo "usage: ${0##*/} FILE.mkv SECONDS FRAMES_PER_SECOND -- COMMAND ARGUMENTS…" >&2
    exit 2
fi
file=$1 seconds=$2 rate=$3
shift 4

session=record-$$
coproc session_ready {
    exec 3>&1
    exec stepscope --session "$session" --lockstep --audio session --die-with-parent \
        --ready-fd 3 -- "$@" >&2
}
# shellcheck disable=SC2154  # set by coproc
compositor=$session_ready_PID
trap 'kill "$compositor" 2>/dev/null || true; wait "$compositor" 2>/dev/null || true' EXIT
if ! read -r -t 30 -u "${session_ready[0]}" _; then
    echo "${0##*/}: the session did not become ready" >&2
    exit 1
fi
gst-launch-1.0 -e -q matroskamux name=mux ! filesink "location=$file" \
    wlscreencopysrc "session=$session" mode=lockstep "num-buffers=$((seconds * rate))" ! \
    "video/x-raw,framerate=$rate/1" ! queue ! videoconvert ! x264enc ! queue ! mux. \
    stepsoundsrc "session=$session" "duration=${seconds}000000000" ! queue max-size-time=0 ! \
    audioconvert ! opusenc ! queue ! mux.
